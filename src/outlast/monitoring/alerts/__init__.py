"""Alerts: what is not as it should be, told once to whom it concerns, and told again when it is over."""
