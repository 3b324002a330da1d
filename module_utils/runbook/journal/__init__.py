"""The journal in the database: runs, events, steps, batches and the lease; and the migration history."""
