"""Repairs: what the plan's queries find wrong, changed in one transaction, with nothing lost."""
