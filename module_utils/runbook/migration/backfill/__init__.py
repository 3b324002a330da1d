"""Move rows in batches: key ranges, a worker pool, an adaptive batch size, and a supervisor."""
