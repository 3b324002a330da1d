"""The engine that moves rows: ranges, workers, batches that tune themselves, and the steward that watches over them."""
