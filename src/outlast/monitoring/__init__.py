"""Seeing what the agents do: metrics, traces, anomalies, alerts and objectives, made of what `telemetry` is told."""
