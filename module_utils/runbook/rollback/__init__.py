"""Roll back: which methods are possible, what each would lose, and what must be stopped first."""
