"""The plan: plan.yml and the SQL files it names."""
