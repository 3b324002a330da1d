"""Environment verification: everything that could be in the way of a migration, read and never written."""
