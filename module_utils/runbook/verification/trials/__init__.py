"""Trials: the application's own statements, run in its environment and always rolled back."""
