"""Environment verification: find everything that could block a migration, without writing anything."""
