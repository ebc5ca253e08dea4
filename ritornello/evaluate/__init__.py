"""Each metric a pure function; the yardsticks beside them; one report of all."""
