"""Objectives, what is left of their error budgets, and how fast it goes."""

from panels import Dashboard, Section, bars, lines, table

SLOS = Dashboard(
    uid="outlast-slos",
    title="Outlast: objectives",
    about="Is it good enough, and for how long still? The same as `outlast slo`: docs/slo.md.",
    variables=("installation",),
    sections=(
        Section(
            title="Objectives",
            panels=(
                table(
                    "Objectives",
                    "Share of events that is to be good.",
                    ("max by (installation, slo) (slo:outlast_slo_objective:max{%I})", ""),
                    unit="percentunit",
                    width=12,
                ),
                bars(
                    "Error budget left",
                    "Of 30 days; below 0 the objective is missed.",
                    ("slo:outlast_slo_budget_left:ratio30d{%I}", "{{slo}}"),
                    "percentunit",
                ),
                lines(
                    "Good events",
                    "Share of an hour's.",
                    ("1 - slo:outlast_slo_bad:ratio_rate1h{%I}", "{{slo}}"),
                    unit="percentunit",
                ),
                lines(
                    "Error budget left",
                    "Of 30 days.",
                    ("slo:outlast_slo_budget_left:ratio30d{%I}", "{{slo}}"),
                    unit="percentunit",
                ),
            ),
        ),
        Section(
            title="Burn rates: 1 spends the budget in 30 days",
            panels=(
                lines(
                    "Within an hour", "From 14.4 on somebody is called.", ("slo:outlast_slo_burn:rate1h{%I}", "{{slo}}")
                ),
                lines(
                    "Within six hours", "From 6 on somebody is called.", ("slo:outlast_slo_burn:rate6h{%I}", "{{slo}}")
                ),
                lines(
                    "Within three days", "From 1 on somebody is told.", ("slo:outlast_slo_burn:rate3d{%I}", "{{slo}}")
                ),
                lines(
                    "Events",
                    "That objectives count, a minute.",
                    ("60 * max by (slo) (rate(outlast_slo_events_total{%I}[$__rate_interval]))", "{{slo}}"),
                ),
            ),
        ),
    ),
)
