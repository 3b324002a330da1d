"""Rows moved in batches: ranges, workers, a batch size that follows the clock, and a supervisor."""
