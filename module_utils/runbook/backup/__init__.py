"""Dumps: the tools, the archive, the manifest, and the proof that rows are in it."""
