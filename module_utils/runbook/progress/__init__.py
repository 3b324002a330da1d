"""Report the progress of a run: written by the run, shown on its screen, and read from the journal."""
