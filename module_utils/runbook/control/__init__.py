"""What an operator says to an open run from a second terminal, and what the run makes of it."""
