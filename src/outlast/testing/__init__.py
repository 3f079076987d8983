"""Helpers for tests: Outlast's own, and those of the programs that use it."""
