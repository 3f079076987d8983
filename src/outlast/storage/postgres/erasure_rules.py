"""Where the data of a user, a thread or a tenant is: one rule for every table, in the order of deletion.

A test compares this list with the database's catalogue, so a new table cannot be forgotten. What belongs to a thread
is found by the thread's key and by the ids of its runs; what belongs to a user are the threads on which they ever ran
something (or which name them as `metadata.owner`), and rows that name them.
"""

from dataclasses import dataclass
from typing import Final, Literal

#: delete: the rows go. blank: the rows stay without what is personal, see `assignments`. fold: figures go on to be
#: counted, without the name. names: a log's names are forgotten. keep: nothing is done.
How = Literal["delete", "blank", "fold", "names", "keep"]

_THREAD: Final = "thread_key = ANY(%(threads)s::uuid[])"
_RUN: Final = "run_id = ANY(%(runs)s::uuid[])"
_LINEAGE: Final = "lineage = ANY(%(runs)s::uuid[])"
_USER: Final = "user_id = %(user)s::text"
_OWNER: Final = "metadata ->> 'owner' = %(user)s::text"
#: A namespace that has the name as a label, a key that is the name, and namespaces that were named in the request.
_PLACE: Final = (
    "(strpos(path, '.' || %(name)s::text || '.') > 0 OR key = %(name)s::text"
    " OR EXISTS (SELECT FROM unnest(%(paths)s::text[]) AS p (path) WHERE starts_with({table}.path, p.path)))"
)
_NOBODY: Final = "'00000000-0000-0000-0000-000000000000'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What becomes of a table's rows."""

    table: str
    how: How
    #: Any of these conditions finds rows of a thread or a user; none: only those of a whole tenant are found.
    found: tuple[str, ...] = ()
    #: Of `blank`, for threads and users; a whole tenant's rows are deleted all the same.
    assignments: str = ""
    #: Rows of threads and users that are blank already are not found again.
    unless: str = ""
    #: Other columns that hold a user's name, which is taken out of them.
    named: tuple[str, ...] = ()
    #: Deleted together with a thread, by `ThreadStore`, in one transaction.
    with_thread: bool = False
    #: Rows of a whole tenant stay as well.
    outlives_tenant: bool = False
    #: Whether a copy of the rows is handed out.
    exported: bool = True
    #: Columns that are not: hashes of secrets.
    hidden: tuple[str, ...] = ()
    #: Rows of others are among those that are found, so new ones may appear at any time.
    shared: bool = False
    #: Why rows are kept, where they are.
    why: str = ""

    @property
    def condition(self) -> str:
        """The SQL that finds rows of a thread or a user."""
        found = " OR ".join(self.found).replace("{table}", self.table)
        return f"({found}) AND NOT ({self.unless})" if self.unless else f"({found})"


def _with_thread(table: str, *found: str, exported: bool = True) -> Rule:
    return Rule(table=table, how="delete", found=found, with_thread=True, exported=exported)


def _kept(table: str, why: str) -> Rule:
    return Rule(table=table, how="keep", why=why, outlives_tenant=True, exported=False)


RULES: Final = (
    # Ways in come first: nobody who is being erased starts anything new.
    Rule(table="api_keys", how="delete", found=(_USER,), named=("created_by",), hidden=("secret_sha256",)),
    _with_thread("webhook_deliveries", _RUN),
    Rule(table="notification_items", how="delete", with_thread=True, found=(
        "notification_id IN (SELECT id FROM notifications WHERE run_id = ANY(%(runs)s::uuid[]))",
    )),
    _with_thread("notifications", _RUN),
    # Which channel was told when, and of what id; without the rows above nobody can say more.
    Rule(table="notification_messages", how="delete"),
    _with_thread("run_feedback", _RUN),
    _with_thread("idempotency_keys", _RUN),
    _with_thread("writes_before", _RUN, _THREAD),
    _with_thread("call_journal", _LINEAGE, _RUN),
    _with_thread("effect_questions", _THREAD),
    _with_thread("reviews", _RUN, _THREAD),
    Rule(table="input_prints", how="delete", found=(_LINEAGE,), exported=False),
    # Applied once for ever is still that; what the effect was about is forgotten.
    Rule(
        table="effects", how="blank", found=(_THREAD,), with_thread=True,
        assignments="arguments = '{}', body = NULL, answer = NULL, error = NULL, business_key = '',"
        f" thread_key = {_NOBODY}",
    ),
    Rule(table="question_notes", how="delete", with_thread=True, named=("author",), found=(
        "question_id IN (SELECT id FROM questions WHERE thread_key = ANY(%(threads)s::uuid[]))",
    )),
    Rule(
        table="questions", how="delete", with_thread=True, found=(_THREAD,),
        named=("requester", "assignee", "answered_by"),
    ),
    _with_thread("run_events", _THREAD),
    _with_thread("crons", _THREAD, _USER, _OWNER),
    _with_thread("run_attempts", _RUN),
    _with_thread("run_history", _RUN),
    Rule(table="run_details", how="delete", found=(_RUN,), with_thread=True, named=("discarded_by",)),
    _with_thread("runs", _THREAD),
    _with_thread("thread_details", _THREAD),
    _kept("thread_watches", "the hash of a thread and a moment, gone within a minute after it"),
    _with_thread("checkpoint_writes", _THREAD),
    _with_thread("checkpoints", _THREAD),
    _with_thread("checkpoint_lists", _THREAD),
    _with_thread("checkpoint_blobs", _THREAD),
    _with_thread("checkpoint_heads", _THREAD, exported=False),
    # The tombstone that refuses late writers: a hash, and no name.
    Rule(
        table="threads", how="blank", found=("key = ANY(%(threads)s::uuid[])",), with_thread=True,
        assignments="thread_id = ''", unless="thread_id = ''", outlives_tenant=True,
        why="the hash of a deleted thread stays, without its name, to refuse late writes",
    ),
    Rule(
        table="admission_decisions", how="delete", named=(),
        found=(_USER, "id = ANY(%(runs)s::uuid[])", "thread_id = %(thread)s::text"),
    ),
    Rule(table="store_vectors", how="delete", found=(_PLACE,), exported=False),
    Rule(table="store_items", how="delete", found=(_PLACE,)),
    # Answers are kept under hashes of their questions, and nobody can say whose those were: all of the tenant's go.
    Rule(table="call_cache", how="delete", found=("true",), exported=False, shared=True),
    # What was spent stays true; who spent it, and where, is forgotten.
    Rule(
        table="call_usage", how="blank", found=(_THREAD, _USER),
        assignments=f"user_id = NULL, thread_key = {_NOBODY}, run_id = {_NOBODY}, lineage = {_NOBODY}",
    ),
    Rule(table="usage_days", how="fold", found=(_USER,)),
    # How a run went stays counted; which run it was is forgotten.
    Rule(
        table="run_observations", how="blank", found=(_RUN,),
        assignments="run_id = gen_random_uuid(), output_print = NULL, input_print = NULL",
    ),
    Rule(table="anomalies", how="blank", found=(_RUN,), assignments="run_id = NULL"),
    # Of all runs of an agent together: windows of figures and of SimHashes, which name nobody.
    Rule(table="anomaly_baselines", how="delete", exported=False),
    Rule(table="assistant_versions", how="delete", found=(
        "assistant_id IN (SELECT id FROM assistants WHERE metadata ->> 'owner' = %(user)s::text)",
    )),
    Rule(table="assistants", how="delete", found=(_OWNER,)),
    Rule(table="budgets", how="delete", found=(_USER,)),
    # Of budgets per user, thread and run: those of an agent or a tenant name nobody.
    Rule(table="budget_counters", how="delete", found=(
        "(per = 'user' AND subject = %(user)s::text)", "(per = 'run' AND subject = ANY(%(runs)s::uuid[]::text[]))",
        "(per = 'thread' AND subject = %(thread)s::text)",
    )),
    Rule(table="budget_reservations", how="delete", found=(
        "subject = %(user)s::text", _RUN,
    ), exported=False),
    Rule(table="switches", how="delete", named=("off_by",)),
    # Figures of the tenant's agents; of people only who has looked after them.
    Rule(table="alerts", how="delete", named=("acknowledged_by",)),
    Rule(table="alert_silences", how="delete", named=("silenced_by",)),
    Rule(table="alert_signals", how="delete", exported=False),
    _kept("alert_clock", "whose turn it is to look"),
    # After everything that may be written on somebody's behalf.
    Rule(
        table="audit_names", how="names", exported=False, found=(
            "kind = 'user' AND name = %(user)s::text", "kind = 'thread' AND name = ANY(%(names)s::text[])",
        ),
    ),
    Rule(table="data_keys", how="delete", exported=False),
    Rule(
        table="audit_log", how="keep", outlives_tenant=True, exported=False,
        why="who did what is proven by the chain; it speaks of people by pseudonyms, whose names are forgotten",
    ),
    _kept("audit_heads", "the ends of audit logs"),
    _kept("erasures", "the receipts themselves, which hold no names"),
    _kept("admission_limits", "counts under hashes, for the length of a limit's window"),
    _kept("encryption", "whether the database is encrypted"),
    _kept("breakers", "about providers"),
    _kept("breaker_tallies", "about providers"),
    _kept("rate_limits", "about providers"),
    _kept("retry_budgets", "about providers"),
    _kept("secrets", "keys of the deployment"),
    _kept("slo_counts", "counts of all tenants together"),
    _kept("slo_rollups", "up to when it was counted"),
    _kept("workers", "about processes"),
    _kept("schema_migrations", "about the schema"),
)  # fmt: skip
