"""Each metric a pure function: likelihood, structure, texture; the yardsticks beside them; one report of all."""
