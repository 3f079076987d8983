"""The first look: does it work, how fast, at what price, and what goes wrong."""

from panels import Dashboard, Section, bars, lines, quantile, stat, table

OVERVIEW = Dashboard(
    uid="outlast-overview",
    title="Outlast: overview",
    about="Does it work, how fast, at what price, and what goes wrong?",
    sections=(
        Section(
            title="Agents",
            panels=(
                stat(
                    "Success rate",
                    "Of the runs that ended by themselves, within the time shown.",
                    'sum(increase(agent_tasks_total{%A, status="success"}[$__range]))'
                    ' / sum(increase(agent_tasks_total{%A, status=~"success|error"}[$__range]))',
                    "percentunit",
                ),
                stat(
                    "Average latency",
                    "Work of the attempt with which a run ended, waiting for a worker left out.",
                    "sum(increase(agent_latency_seconds_sum{%A}[$__range]))"
                    " / sum(increase(agent_latency_seconds_count{%A}[$__range]))",
                    "s",
                ),
                stat(
                    "P99 latency",
                    "One run of a hundred takes longer.",
                    "histogram_quantile(0.99, sum by (le) (increase(agent_latency_seconds_bucket{%A}[$__range])))",
                    "s",
                ),
                stat(
                    "Tokens per hour",
                    "Of prompts and answers, in the last hour.",
                    "sum(increase(agent_tokens_total{%A}[1h])) or vector(0)",
                ),
                stat(
                    "Cost per hour",
                    "Of model calls that have a price, in the last hour.",
                    "sum(increase(agent_cost_usd_total{%A}[1h])) or vector(0)",
                    "currencyUSD",
                ),
                stat(
                    "Low confidence",
                    "Outputs of which the agent is at most 50 % sure, within the time shown.",
                    'sum(increase(agent_confidence_score_bucket{%A, le="0.5"}[$__range])) or vector(0)',
                    "short",
                    (1, "orange"),
                ),
                lines(
                    "Runs",
                    "How many end a minute, and how.",
                    ("60 * sum by (status) (rate(agent_tasks_total{%A}[$__rate_interval]))", "{{status}}"),
                    stacked=True,
                ),
                lines(
                    "Success rate by agent",
                    "Runs that asked a person or were cancelled are left out.",
                    ("1 - agent:agent_tasks_failed:ratio_rate5m{%A}", "{{agent_name}}"),
                    unit="percentunit",
                ),
                lines(
                    "Latency",
                    "Of all agents.",
                    *(
                        (
                            quantile(share, "agent_latency_seconds", "%A"),
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
                    ),
                    unit="s",
                ),
                lines(
                    "Latency by agent",
                    "19 of 20 runs take no longer.",
                    ("agent:agent_latency_seconds:p95_rate5m{%A}", "{{agent_name}}"),
                    unit="s",
                ),
            ),
        ),
        Section(
            title="What is consumed",
            panels=(
                lines(
                    "Tokens per hour by model",
                    "Prompts and answers.",
                    ("sum by (model) (agent_model:agent_tokens:increase1h{%A})", "{{model}}"),
                    stacked=True,
                ),
                lines(
                    "Cost per hour by agent",
                    "As far as model calls have a price.",
                    ("sum by (agent_name) (agent_model:agent_cost_usd:increase1h{%A})", "{{agent_name}}"),
                    unit="currencyUSD",
                    stacked=True,
                ),
            ),
        ),
        Section(
            title="What goes wrong",
            panels=(
                lines(
                    "Error breakdown: model calls",
                    "Tries that failed in an hour, by kind.",
                    ("sum by (reason) (increase(outlast_retries_total{%I}[1h])) > 0 or vector(0)", "{{reason}}"),
                    width=8,
                    stacked=True,
                ),
                lines(
                    "Error breakdown: tools",
                    "Calls that failed in an hour.",
                    (
                        'sum by (tool) (increase(outlast_tool_calls_total{%A, outcome="error"}[1h])) or vector(0)',
                        "{{tool}}",
                    ),
                    width=8,
                    stacked=True,
                ),
                lines(
                    "Error breakdown: runs",
                    "Runs that failed in an hour, for whatever reason.",
                    ('sum by (agent_name) (increase(agent_tasks_total{%A, status="error"}[1h]))', "{{agent_name}}"),
                    width=8,
                    stacked=True,
                ),
                lines(
                    "Low confidence",
                    "Share of outputs of which the agent is at most 50 % sure.",
                    ("agent:agent_confidence_score_low:ratio_rate30m{%A}", "{{agent_name}}"),
                    unit="percentunit",
                    width=8,
                ),
                lines(
                    "Invalid outputs",
                    "Share of runs in whose output a validator found fault.",
                    ("agent:outlast_validation_failures:ratio_rate30m{%A}", "{{agent_name}}"),
                    unit="percentunit",
                    width=8,
                ),
                lines(
                    "Anomalies",
                    "Findings of silent failures in a day: docs/anomalies.md.",
                    (
                        "sum by (agent_name, kind) (increase(outlast_anomalies_total{%A}[1d])) or vector(0)",
                        "{{agent_name}} {{kind}}",
                    ),
                    width=8,
                    stacked=True,
                ),
                bars(
                    "Alerts of Outlast that fire",
                    "As `outlast alerts list` shows them: docs/alerts.md.",
                    ("max by (severity) (outlast_alerts_firing{%I})", "{{severity}}"),
                    "short",
                    (1, "red"),
                ),
                table(
                    "Alerts of Prometheus that fire",
                    "OutlastWatchdog always does: docs/runbook.md.",
                    (
                        'max by (alertname, severity) (ALERTS{alertname=~"Outlast.*", alertstate="firing"})',
                        "",
                    ),
                    width=12,
                ),
            ),
        ),
    ),
)
