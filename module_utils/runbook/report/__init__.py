"""The report of a run, the incident report, and what to type next."""
