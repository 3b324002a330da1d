"""The throwaway server of the demonstration and the tests, and its data."""
