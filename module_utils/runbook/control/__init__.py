"""Commands of an operator to an open run, from a second terminal, and their effect on the run."""
