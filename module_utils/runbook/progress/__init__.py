"""What an operator sees of a run while it works: written by the run, drawn on its screen, read from the journal."""
