"""Prove what happened to rows: snapshot, fingerprints, change log, comparison."""
