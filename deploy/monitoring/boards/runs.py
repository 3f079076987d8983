"""Runs from the queue to their end, and the people whom they wait for."""

from panels import Dashboard, Section, lines, quantile, stat

RUNS = Dashboard(
    uid="outlast-runs",
    title="Outlast: runs and queue",
    about="What waits, for how long, and for whom?",
    sections=(
        Section(
            title="Queue and workers",
            panels=(
                stat(
                    "Queued",
                    "Runs that are due, and that no worker has taken.",
                    'max(outlast_runs{%I, status="queued"})',
                ),
                stat(
                    "Oldest",
                    "How long the first of them has been due.",
                    "max(outlast_oldest_queued_seconds{%I})",
                    "s",
                    (60, "orange"),
                    (300, "red"),
                ),
                stat("Running", "Runs that a worker has.", 'max(outlast_runs{%I, status="running"})'),
                stat("Workers", "Processes that live.", "max(outlast_workers{%I})"),
                stat(
                    "Waiting for people",
                    "Runs that go on when somebody has answered.",
                    'max(outlast_runs{%I, status="waiting"})',
                ),
                stat(
                    "Dead letters",
                    "Failed runs that nobody has dealt with.",
                    "sum(max by (agent_name) (outlast_dead_letters{%A})) or vector(0)",
                    "short",
                    (1, "orange"),
                ),
                lines(
                    "Runs that have not ended",
                    "By status; later: queued, but not due.",
                    ("max by (status) (outlast_runs{%I})", "{{status}}"),
                    stacked=True,
                ),
                lines(
                    "Workers in use",
                    "Runs at the same time, and how many there may be.",
                    ('max(outlast_runs{%I, status="running"})', "running"),
                    ("max(outlast_worker_slots{%I})", "slots"),
                ),
                lines(
                    "Wait for a worker",
                    "From ready to claimed.",
                    *(
                        (
                            quantile(share, "outlast_queue_wait_seconds", "%A"),
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.95, "p95"))
                    ),
                    unit="s",
                ),
                lines(
                    "Claims",
                    "Runs that workers take from the queue, a minute.",
                    ("60 * sum(rate(outlast_claims_total{%I}[$__rate_interval]))", "claims"),
                ),
            ),
        ),
        Section(
            title="Agents at work",
            panels=(
                lines(
                    "Slowest nodes",
                    "19 of 20 executions take no longer.",
                    (
                        (
                            "topk(10, histogram_quantile(0.95, sum by (agent_name, node, le)"
                            " (rate(outlast_node_seconds_bucket{%A}[$__rate_interval]))))"
                        ),
                        "{{agent_name}} {{node}}",
                    ),
                    unit="s",
                ),
                lines(
                    "Attempts made again",
                    "Of runs that failed, in an hour.",
                    (
                        "sum by (agent_name) (increase(outlast_run_retries_total{%A}[1h])) or vector(0)",
                        "{{agent_name}}",
                    ),
                ),
                lines(
                    "Tools",
                    "Calls a minute.",
                    (
                        "60 * sum by (tool, outcome) (rate(outlast_tool_calls_total{%A}[$__rate_interval]))",
                        "{{tool}} {{outcome}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "From creation to the end",
                    "What a user waits for, people included.",
                    *(
                        (
                            quantile(share, "outlast_resolution_seconds", "%A"),
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.95, "p95"))
                    ),
                    unit="s",
                ),
                lines(
                    "Dead letters",
                    "Failed runs that nobody has dealt with.",
                    ("max by (agent_name) (outlast_dead_letters{%A}) or vector(0)", "{{agent_name}}"),
                    stacked=True,
                ),
                lines(
                    "Sessions",
                    "From the first run of a thread to the end of its last; average of those that ended in a day.",
                    (
                        (
                            "sum by (agent_name) (increase(outlast_session_seconds_sum{%A}[1d]))"
                            " / sum by (agent_name) (increase(outlast_session_seconds_count{%A}[1d])) or vector(0)"
                        ),
                        "{{agent_name}}",
                    ),
                    unit="s",
                ),
            ),
        ),
        Section(
            title="API",
            panels=(
                lines(
                    "Requests",
                    "A second, by status.",
                    ("sum by (status) (rate(outlast_http_requests_total{%I}[$__rate_interval]))", "{{status}}"),
                    unit="reqps",
                    stacked=True,
                ),
                lines(
                    "Slowest routes",
                    "19 of 20 requests take no longer.",
                    (
                        (
                            "topk(10, histogram_quantile(0.95, sum by (route, le)"
                            " (rate(outlast_http_seconds_bucket{%I}[$__rate_interval]))))"
                        ),
                        "{{route}}",
                    ),
                    unit="s",
                ),
                lines(
                    "Time to the first byte",
                    "From the moment a run was ready to the first thing that it said.",
                    *(
                        (
                            quantile(share, "outlast_first_byte_seconds", "%A"),
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.95, "p95"))
                    ),
                    unit="s",
                ),
                lines(
                    "Streams",
                    "That ended, a minute; client_gone: the client went away first.",
                    ("60 * sum by (outcome) (rate(outlast_streams_total{%I}[$__rate_interval]))", "{{outcome}}"),
                    stacked=True,
                ),
                lines(
                    "Webhooks",
                    "Reports of ended runs, in an hour.",
                    ("sum by (outcome) (increase(outlast_webhooks_total{%I}[1h]))", "{{outcome}}"),
                    stacked=True,
                ),
                lines(
                    "Streams that are open",
                    "At all processes of the API.",
                    ("sum(outlast_stream_followers{%I})", "streams"),
                    ("sum(outlast_stream_threads{%I})", "threads"),
                ),
            ),
        ),
        Section(
            title="People",
            panels=(
                lines(
                    "Open questions", "By kind.", ("max by (kind) (outlast_inbox_open{%I})", "{{kind}}"), stacked=True
                ),
                lines("Oldest question", "Its age.", ("max(outlast_inbox_oldest_seconds{%I})", "oldest"), unit="s"),
                lines(
                    "Time to answer",
                    "From a question to its answer; average of a day.",
                    (
                        (
                            "sum(increase(outlast_inbox_answer_seconds_sum{%I}[1d]))"
                            " / sum(increase(outlast_inbox_answer_seconds_count{%I}[1d]))"
                        ),
                        "average",
                    ),
                    unit="s",
                ),
                lines(
                    "Escalations",
                    "Reasons for which people were asked to look, in a day.",
                    ("sum by (reason) (increase(outlast_escalations_total{%I}[1d])) or vector(0)", "{{reason}}"),
                    stacked=True,
                ),
                lines(
                    "Notifications",
                    "Messages to people, in an hour.",
                    (
                        "sum by (channel, outcome) (increase(outlast_notifications_total{%I}[1h])) or vector(0)",
                        "{{channel}} {{outcome}}",
                    ),
                    stacked=True,
                ),
                lines(
                    "What is still to be sent",
                    "Messages to people, and reports of runs.",
                    ("max(outlast_notifications_pending{%I})", "notifications"),
                    ("max(outlast_webhooks_pending{%I})", "webhooks"),
                ),
            ),
        ),
    ),
)
