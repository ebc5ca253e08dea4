"""Drawing songs from what a model says."""

from ritornello.sampling.autoregress import Draft, autoregress
from ritornello.sampling.grammar import Grammar

__all__ = ["Draft", "Grammar", "autoregress"]
