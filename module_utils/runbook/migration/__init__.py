"""Migration files and how their steps run: locks, indexes, batches."""
