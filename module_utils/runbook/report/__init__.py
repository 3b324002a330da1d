"""The report of a run, the incident report, and the next command."""
