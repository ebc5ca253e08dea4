"""The baselines against their papers' formulas, written token by token, and what each can and cannot see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ritornello.generate import finish, generate
from ritornello.layers.positions import sinusoids
from ritornello.models.sequence import SequenceLM
from ritornello.models.transformer_xl import RecurrentAttention
from ritornello.music.bars import bars
from ritornello.representations import build
from ritornello.request import Request
from ritornello.sampling.autoregress import Token
from tests.families import SEQUENCES, make_batch, make_model

TIME = 60  # more than two chunks of 24, three segments and windows of 16


def heads(attention: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, values of x [time, width]: [heads, time, size] each."""
    q, k, v = (
        layer(x).unflatten(-1, (attention.heads, -1)) for layer in (attention.query, attention.key, attention.value)
    )
    return q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)


def softmax_of(attention: Any, x: Tensor, score: Callable[..., Tensor], sees: Callable[[int], range]) -> Tensor:
    """softmax over the sources that a target sees, target by target. score(q_i, keys, distances) gives [sources]."""
    q, k, v = heads(attention, x)
    out = []
    for i in range(len(x)):
        sources = sees(i)
        back = torch.tensor([i - j for j in sources])
        mixed = []
        for h in range(attention.heads):
            scores = score(h, q[h, i], k[h, sources.start : sources.stop], back) / q.shape[-1] ** 0.5
            mixed.append(scores.softmax(0) @ v[h, sources.start : sources.stop])
        out.append(attention.out(torch.cat(mixed)))
    return torch.stack(out)


def music_transformer(attention: Any, x: Tensor) -> Tensor:
    """Equation 3: keys and the vectors of their distances, in chunks while training, else over all earlier tokens."""
    chunk = attention.chunk

    def score(h: int, q: Tensor, k: Tensor, back: Tensor) -> Tensor:
        return k @ q + attention.distance[h, back.clamp(max=chunk - 1)] @ q

    return softmax_of(attention, x, score, lambda i: range(i // chunk * chunk if attention.training else 0, i + 1))


def longformer(attention: Any, x: Tensor) -> Tensor:
    return softmax_of(
        attention, x, lambda h, q, k, back: k @ q, lambda i: range(max(0, i + 1 - attention.window), i + 1)
    )


def linear_transformer(attention: Any, x: Tensor) -> Tensor:
    """Equations 16 to 20: a state of sums, one token after another."""
    q, k, v = heads(attention, x)
    sums, weights, out = torch.zeros(len(q), q.shape[2], q.shape[2]), torch.zeros(len(q), q.shape[2]), []
    for i in range(len(x)):
        phi_q, phi_k = F.elu(q[:, i]) + 1, F.elu(k[:, i]) + 1
        sums = sums + phi_k[:, :, None] * v[:, i, None]
        weights = weights + phi_k
        mixed = torch.einsum("hd,hde->he", phi_q, sums) / (phi_q * weights).sum(-1, keepdim=True)
        out.append(attention.out(mixed.flatten()))
    return torch.stack(out)


def transformer_xl(attention: RecurrentAttention, x: Tensor) -> Tensor:
    """Section 3.3, segment after segment: the memory is what the segment before was given, its gradient stopped."""
    r = attention.position(sinusoids(torch.arange(2 * attention.segment), x.shape[1])).unflatten(
        1, (attention.heads, -1)
    )
    memory, out = x[:0], []
    for segment in x.split(attention.segment):
        own_and_past = torch.cat([memory.detach(), segment])
        q, (_, k, v) = heads(attention, segment)[0], heads(attention, own_and_past)
        for i in range(len(segment)):
            sources = len(memory) + i + 1
            mixed = []
            for h in range(attention.heads):
                back = torch.arange(sources - 1, -1, -1)
                scores = k[h, :sources] @ (q[h, i] + attention.content_bias[h, 0])
                scores = scores + r[back, h] @ (q[h, i] + attention.position_bias[h, 0])
                mixed.append((scores / q.shape[-1] ** 0.5).softmax(0) @ v[h, :sources])
            out.append(attention.out(torch.cat(mixed)))
        memory = segment
    return torch.stack(out)


SLOW: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "music_transformer": music_transformer,
    "transformer_xl": transformer_xl,
    "longformer": longformer,
    "linear_transformer": linear_transformer,
}


@pytest.mark.parametrize("piece", [256, 7])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", SLOW)
def test_fast_form_equals_the_paper_s(family: str, training: bool, piece: int, monkeypatch: pytest.MonkeyPatch):
    """Values, gradients of the weights and of the input; a second song beside it changes nothing."""
    monkeypatch.setattr("ritornello.layers.transformer.PIECE", piece)
    attention: Any = make_model(family).layers[0].attention.train(training)
    for name, parameter in attention.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)  # they begin at zero
    x = torch.randn(2, TIME, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for compute in (lambda x: attention(x), lambda x: torch.stack([SLOW[family](attention, song) for song in x])):
        leaf = x.clone().requires_grad_()
        attention.zero_grad()
        value = compute(leaf)
        (value * torch.arange(32).cos()).sum().backward()
        found.append([value, leaf.grad, *(p.grad.clone() for p in attention.parameters())])
    names = ["value", "input", *(name for name, _ in attention.named_parameters())]
    for name, fast, slow in zip(names, *found, strict=True):
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def seen(model: SequenceLM, target: int) -> set[int]:
    """The tokens whose input changes the output of token `target`."""
    inputs: list[Tensor] = []

    def keep(_module, _inputs, output):
        inputs.append(output.detach().requires_grad_())
        return inputs[0]

    handle = model.embedding.register_forward_hook(keep)
    logits = model(make_batch((TIME,)))[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(logits.square().sum(), inputs[0])
    return set(torch.nonzero(gradient.abs().amax(1))[:, 0].tolist())


def test_a_window_reaches_as_far_in_each_layer():
    assert seen(make_model("longformer"), 50) == set(range(50 - 2 * 15, 51))


def test_no_gradient_crosses_a_segment():
    assert seen(make_model("transformer_xl"), 50) == set(range(48, 51))


def test_chunks_are_cut_in_training_only():
    model = make_model("music_transformer")
    assert seen(model, 50) == set(range(48, 51))
    assert seen(model.eval(), 50) == set(range(51))


def test_the_kernel_sees_everything():
    assert seen(make_model("linear_transformer"), 50) == set(range(51))


@pytest.mark.parametrize("family", SEQUENCES)
def test_keeps_some_rows_in_another_order(family: str):
    model, batch = make_model(family).eval(), make_batch((40, 40, 40))
    with torch.no_grad():
        expected = model(batch)
    cache = model.cache(3)
    model.prefill(replace(batch, lengths=torch.tensor([20, 26, 22])), cache)
    cache.keep([2, 0])
    for t in range(14):
        places = {2: 22 + t, 0: 20 + t}
        fields = (batch.ids, batch.bars, batch.positions, batch.countdown)
        logits = model.advance(Token(*(torch.stack([f[row, at] for row, at in places.items()]) for f in fields)), cache)
        for found, (row, at) in zip(logits, places.items(), strict=True):
            torch.testing.assert_close(found, expected[row, at], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", SEQUENCES)
def test_writes_through_the_one_token_loop(family: str):
    representation = build("museformer")
    (*_, song) = finish(generate(make_model(family), representation, Request(bars=3, count=2, max_tokens=400)))
    assert len(bars(song.score)) == 3
    (alone,) = finish(generate(make_model(family), representation, Request(bars=3, seed=1, max_tokens=400)))
    assert alone.score.note_num() == song.score.note_num()


@pytest.mark.parametrize("family", SEQUENCES)
def test_bfloat16_stays_near(family: str):
    model, batch = make_model(family).eval(), make_batch()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = model.loss(batch)["loss"]
    with torch.no_grad():
        assert abs(rough - model.loss(batch)["loss"]) < 0.05
