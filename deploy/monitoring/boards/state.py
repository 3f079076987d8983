"""Whether steps are durable, and what happens when processes die."""

from panels import Dashboard, Section, lines, quantile, stat

STATE = Dashboard(
    uid="outlast-state",
    title="Outlast: state and recovery",
    about="Are steps durable, do runs go on after a crash, and how do the processes feel?",
    variables=("installation",),
    sections=(
        Section(
            title="State",
            panels=(
                stat(
                    "Checkpoints",
                    "That were stored in the last hour.",
                    "sum(increase(outlast_checkpoint_rows_total{%I}[1h]))",
                ),
                stat(
                    "Could not be written",
                    "Batches, in the last hour; they are sent again.",
                    "sum(increase(outlast_checkpoint_failures_total{%I}[1h]))",
                    "short",
                    (1, "red"),
                ),
                stat(
                    "Runs recovered",
                    "Of dead workers, in the last day.",
                    "sum(increase(outlast_runs_recovered_total{%I}[1d]))",
                ),
                stat(
                    "Workers that died",
                    "In the last day.",
                    "sum(increase(outlast_worker_deaths_total{%I}[1d]))",
                    "short",
                    (1, "orange"),
                ),
                stat(
                    "Leases lost",
                    "Writes that were refused because another worker has the run, in the last day.",
                    "sum(increase(outlast_lease_losses_total{%I}[1d]))",
                    "short",
                    (1, "orange"),
                ),
                stat(
                    "Effects of unknown outcome",
                    "In the last day; people are asked.",
                    "sum(increase(outlast_effects_unknown_total{%I}[1d]))",
                    "short",
                    (1, "orange"),
                ),
                lines(
                    "Time to write",
                    "One batch of checkpoints, until it is durable.",
                    (quantile(0.5, "outlast_checkpoint_write_seconds", "%I"), "p50"),
                    (quantile(0.99, "outlast_checkpoint_write_seconds", "%I"), "p99"),
                    unit="s",
                ),
                lines(
                    "Size of a checkpoint",
                    "What it added to the database.",
                    (
                        quantile(0.5, "outlast_checkpoint_bytes", "%I"),
                        "p50",
                    ),
                    (
                        quantile(0.99, "outlast_checkpoint_bytes", "%I"),
                        "p99",
                    ),
                    unit="bytes",
                ),
                lines(
                    "Checkpoints",
                    "A second.",
                    ("sum(rate(outlast_checkpoint_rows_total{%I}[$__rate_interval]))", "stored"),
                    unit="wps",
                ),
                lines(
                    "Written to the database",
                    "Bytes of checkpoints a second.",
                    ("sum(rate(outlast_checkpoint_bytes_sum{%I}[$__rate_interval]))", "bytes"),
                    unit="Bps",
                ),
            ),
        ),
        Section(
            title="Recovery",
            panels=(
                lines(
                    "Resumed runs",
                    "Attempts that went on with what earlier ones had stored, in an hour.",
                    ("sum by (outcome) (increase(outlast_resumes_total{%I}[1h]))", "{{outcome}}"),
                    stacked=True,
                ),
                lines(
                    "Time to recover",
                    "From a worker's last sign of life until its runs were given back; of an hour.",
                    ("installation:outlast_recovery_seconds:p95_rate1h{%I}", "p95"),
                    unit="s",
                ),
                lines(
                    "Deaths and recoveries",
                    "In an hour.",
                    ("sum(increase(outlast_worker_deaths_total{%I}[1h]))", "workers that died"),
                    ("sum(increase(outlast_runs_recovered_total{%I}[1h]))", "runs recovered"),
                    ("sum(increase(outlast_lease_losses_total{%I}[1h]))", "leases lost"),
                ),
                lines(
                    "Background loops",
                    "Rounds that failed, in an hour.",
                    ("sum by (loop) (increase(outlast_loop_failures_total{%I}[1h])) or vector(0)", "{{loop}}"),
                    stacked=True,
                ),
            ),
        ),
        Section(
            title="Processes",
            panels=(
                lines(
                    "Event loop",
                    "Longest hold-up: something blocks it.",
                    ("max by (instance) (outlast_loop_lag_seconds{%I})", "{{instance}}"),
                    unit="s",
                ),
                lines(
                    "Database connections",
                    "Of all pools.",
                    ("sum by (state) (outlast_pool_connections{%I})", "{{state}}"),
                    stacked=True,
                ),
                lines(
                    "Wait for a connection",
                    "Statements.",
                    ("sum by (instance) (outlast_pool_waiting{%I})", "{{instance}}"),
                ),
                lines(
                    "Connections that streams have borrowed",
                    "At this moment.",
                    ("sum by (instance) (outlast_stream_connections{%I})", "{{instance}}"),
                ),
                lines(
                    "Memory of streams",
                    "What recent records take.",
                    ("sum by (instance) (outlast_stream_ring_bytes{%I})", "{{instance}}"),
                    unit="bytes",
                ),
                lines(
                    "Telemetry that was lost",
                    "In an hour.",
                    ("sum(increase(outlast_logs_lost_total{%I}[1h]))", "log lines"),
                    ("sum(increase(outlast_telemetry_lost_total{%I}[1h]))", "observations and spans"),
                ),
                lines(
                    "Outlast's own alerts",
                    "Time since their rules were last looked at: a dead man's switch.",
                    ("time() - max(outlast_alerts_evaluated_timestamp_seconds{%I})", "silence"),
                    unit="s",
                ),
                lines(
                    "Processes that Prometheus sees",
                    "1: it answers.",
                    ('max by (job, instance) (up{%I, job=~"outlast.*"})', "{{job}} {{instance}}"),
                ),
            ),
        ),
    ),
)
