"""What rows there are and what became of them: snapshot, fingerprints, change log, comparison."""
