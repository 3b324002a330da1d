"""Run migrations: steps in transactions, concurrent index builds, backfills."""
