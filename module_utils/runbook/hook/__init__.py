"""Hooks of the operator: what stops and starts the application."""
