"""Judging: checks, expectations, measured queries, findings, known issues."""
