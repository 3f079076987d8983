"""`[retention]`: how long what is kept."""

from datetime import timedelta

from pydantic import Field

from outlast.setting_branch import Branch


class RetentionSettings(Branch):
    """What is deleted by age."""

    sweep: timedelta = Field(default=timedelta(seconds=30), description="how often to look")
    temporary: timedelta = Field(default=timedelta(minutes=5), description="threads of stateless runs, after the end")
    outputs: timedelta = Field(default=timedelta(hours=1), description="a run's own values, once its thread has them")
    events: timedelta = Field(default=timedelta(minutes=2), description="what a run streamed, after its end")
    journal: timedelta = Field(
        default=timedelta(days=30), description="answers of calls, of runs that have ended without success"
    )
    resumable_events: timedelta = Field(default=timedelta(hours=1), description="the same, if stream_resumable")
    effects: timedelta = Field(default=timedelta(days=30), description="effects of runs that cannot be executed again")
    usage: timedelta = Field(default=timedelta(days=90), description="usage of single calls; then it is kept by day")
    threads: timedelta | None = Field(
        default=None, description="threads on which nothing happens, those without a TTL of their own; none: for ever"
    )
    runs: timedelta | None = Field(
        default=None, description="ended runs, with their input and result; none: as long as their thread"
    )
    deliveries: timedelta = Field(
        default=timedelta(days=7), description="webhooks and notifications that were sent or given up"
    )
    observations: timedelta = Field(
        default=timedelta(days=30), description="what runs were like, in figures; objectives look as far back"
    )
    anomalies: timedelta = Field(default=timedelta(days=365), description="what was found of agents, after its end")
    decisions: timedelta = Field(default=timedelta(days=30), description="why runs were let in or refused")
    usage_days: timedelta | None = Field(default=None, description="usage by day; none: for ever")
    budgets: timedelta = Field(
        default=timedelta(days=400), description="what was spent in days and months that are over, and by single runs"
    )
    tombstones: timedelta = Field(
        default=timedelta(days=30), description="hashes of deleted threads, which refuse late writes"
    )
    audit: timedelta | None = Field(default=None, description="entries of the audit log; none: for ever")
