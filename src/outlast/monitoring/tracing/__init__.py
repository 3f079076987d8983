"""Traces in OpenTelemetry's words: what `telemetry.span` says, named by its conventions and exported by OTLP."""
