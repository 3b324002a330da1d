"""Logic of the runbook's modules.

Nothing here names a table of a plan, and nothing but ``module.py`` knows Ansible's module class.
"""
