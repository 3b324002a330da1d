"""The journal in the database: runs, events, steps, batches, the lease; and the history beside it."""
