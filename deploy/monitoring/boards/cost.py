"""What agents cost, and the models that they pay for."""

from panels import Dashboard, Section, bars, lines, stat

COST = Dashboard(
    uid="outlast-cost",
    title="Outlast: cost and models",
    about="Who spends what, on which model, and how do the models do?",
    sections=(
        Section(
            title="Cost",
            panels=(
                stat(
                    "Cost of the last hour",
                    "As far as model calls have a price.",
                    "sum(increase(agent_cost_usd_total{%A}[1h])) or vector(0)",
                    "currencyUSD",
                ),
                stat(
                    "Cost of the last day",
                    "As far as model calls have a price.",
                    "sum(increase(agent_cost_usd_total{%A}[1d])) or vector(0)",
                    "currencyUSD",
                ),
                stat(
                    "Cost of a run",
                    "Average, within the time shown.",
                    "sum(increase(agent_cost_usd_total{%A}[$__range]))"
                    " / sum(increase(agent_tasks_total{%A}[$__range]))",
                    "currencyUSD",
                ),
                stat(
                    "Tokens of the last day",
                    "Prompts and answers.",
                    "sum(increase(agent_tokens_total{%A}[1d])) or vector(0)",
                ),
                stat(
                    "Read from the provider's cache",
                    "Share of the prompts' tokens, in a day.",
                    '(sum(increase(outlast_tokens_total{%A, kind="cached"}[1d])) or vector(0))'
                    ' / sum(increase(outlast_tokens_total{%A, kind="input"}[1d]))',
                    "percentunit",
                ),
                stat(
                    "Calls stopped by budgets",
                    "In the last day.",
                    "sum(increase(outlast_budget_stops_total{%I}[1d]))",
                    "short",
                    (1, "orange"),
                ),
                lines(
                    "Cost per hour by agent",
                    "As far as model calls have a price.",
                    ("sum by (agent_name) (agent_model:agent_cost_usd:increase1h{%A})", "{{agent_name}}"),
                    unit="currencyUSD",
                    stacked=True,
                ),
                lines(
                    "Cost per hour by model",
                    "As far as model calls have a price.",
                    ("sum by (model) (agent_model:agent_cost_usd:increase1h{%A})", "{{model}}"),
                    unit="currencyUSD",
                    stacked=True,
                ),
                lines(
                    "Cost of a run by agent",
                    "Average over an hour.",
                    (
                        (
                            "sum by (agent_name) (increase(agent_cost_usd_total{%A}[1h]))"
                            " / sum by (agent_name) (increase(agent_tasks_total{%A}[1h]))"
                        ),
                        "{{agent_name}}",
                    ),
                    unit="currencyUSD",
                ),
                lines(
                    "Tokens by kind",
                    "In an hour; cached is part of the input, reasoning of the output.",
                    ("sum by (kind) (increase(outlast_tokens_total{%A}[1h]))", "{{kind}}"),
                ),
                bars(
                    "Budgets",
                    "What is spent of the fullest budget of each period.",
                    ("max by (period, unit) (outlast_budget_used_ratio{%I}) or vector(0)", "{{period}} {{unit}}"),
                    "percentunit",
                    (0.8, "orange"),
                    (1, "red"),
                ),
                lines(
                    "Answers from the cache",
                    "Calls that cost nothing, in an hour.",
                    ("sum by (model) (increase(outlast_cache_hits_total{%I}[1h])) or vector(0)", "{{model}}"),
                    stacked=True,
                ),
            ),
        ),
        Section(
            title="Models",
            panels=(
                lines(
                    "Calls",
                    "Tries a minute.",
                    (
                        "60 * sum by (model, outcome) (rate(outlast_model_calls_total{%I}[$__rate_interval]))",
                        "{{model}} {{outcome}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "Failed",
                    "Share of tries.",
                    ("model:outlast_model_calls_failed:ratio_rate5m{%I}", "{{model}}"),
                    unit="percentunit",
                ),
                lines(
                    "Time to answer",
                    "19 of 20 tries take no longer.",
                    (
                        (
                            "histogram_quantile(0.95, sum by (model, le)"
                            " (rate(outlast_model_call_seconds_bucket{%I}[$__rate_interval])))"
                        ),
                        "{{model}}",
                    ),
                    unit="s",
                ),
                lines(
                    "Why tries failed",
                    "In an hour.",
                    ("sum by (reason) (increase(outlast_retries_total{%I}[1h])) > 0 or vector(0)", "{{reason}}"),
                    stacked=True,
                ),
                lines(
                    "Breakers",
                    "0: calls pass, 1: one call tries it, 2: the model is left alone.",
                    ("max by (model) (outlast_breaker_state{%I}) or vector(0)", "{{model}}"),
                ),
                lines(
                    "Fallbacks",
                    "Calls that went to this model instead of a preferred one, in an hour.",
                    ("sum by (model) (increase(outlast_fallbacks_total{%I}[1h])) or vector(0)", "{{model}}"),
                    stacked=True,
                ),
                lines(
                    "Keys left alone",
                    "API keys under which a model is left alone.",
                    ("max by (model) (outlast_breakers_open{%I}) or vector(0)", "{{model}}"),
                ),
            ),
        ),
    ),
)
