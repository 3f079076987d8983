"""Claim runs, execute them, settle them, and stop in time when this process no longer owns them."""
