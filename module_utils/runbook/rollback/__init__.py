"""Rolling back: what is possible, what each way would lose, and who must be stopped first."""
