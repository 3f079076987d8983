"""Figures for Prometheus: counted where things happen, or read from the database when somebody asks."""
