"""The data snapshot: counts, samples, fingerprints, and the comparison with them."""
