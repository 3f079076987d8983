"""Outlast keeps AI agents running in production."""

__version__ = "0.1.0"
