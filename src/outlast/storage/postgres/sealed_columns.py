"""Which columns are sealed, which stay readable, and why.

Every column of a type that can hold content (bytea, jsonb, text) is named here; a test asks the database for others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from outlast.storage.postgres.sealing import Place

#: How a column holds what is sealed: as bytes, as text, as a JSON string, or inside of each question of a list.
Form = Literal["bytes", "text", "json", "questions", "questions of tasks"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTable:
    """The sealed columns of a table."""

    table: str
    #: What finds a row, with its types; in this order the rows are walked.
    key: Mapping[str, str]
    #: By column: its place and form.
    columns: Mapping[str, tuple[Place, Form]]
    #: The part of the key that identifies the content.
    identity: tuple[str, ...]


CHECKPOINT_BODY: Final = Place("checkpoints.body")
CHECKPOINT_WRITES: Final = Place("checkpoint_writes.body")
CHECKPOINT_LIST: Final = Place("checkpoint_lists.items")
CHECKPOINT_BLOB: Final = Place("checkpoint_blobs.data")
RUN_INPUT: Final = Place("run_details.input")
RUN_OUTPUT: Final = Place("run_details.output")
RUN_ANSWER: Final = Place("run_details.answer")
RUN_OPTIONS: Final = Place("run_details.options")
RUN_CONFIG: Final = Place("run_details.config")
RUN_QUESTIONS: Final = Place("run_details.interrupts")
RUN_ERROR: Final = Place("run_details.error_message")
RUN_CANCEL_REASON: Final = Place("run_details.cancel_reason")
ATTEMPT_ERROR: Final = Place("run_attempts.error_message")
DISCARD_REASON: Final = Place("run_details.discard_reason")
THREAD_VALUES: Final = Place("thread_details.values")
THREAD_QUESTIONS: Final = Place("thread_details.interrupts")
THREAD_ERROR: Final = Place("thread_details.error")
JOURNAL: Final = Place("call_journal.body")
EFFECT_ARGUMENTS: Final = Place("effects.arguments")
EFFECT_BODY: Final = Place("effects.body")
EFFECT_ERROR: Final = Place("effects.error")
EFFECT_ANSWER: Final = Place("effects.answer")
REVIEW_BODY: Final = Place("reviews.body")
CRON_PAYLOAD: Final = Place("crons.payload")
CRON_TEMPLATE: Final = Place("crons.template")
ITEM: Final = Place("store_items.value")
FEEDBACK_VALUE: Final = Place("run_feedback.value")
FEEDBACK_COMMENT: Final = Place("run_feedback.comment")
QUESTION_VALUE: Final = Place("questions.value")
QUESTION_ANSWER: Final = Place("questions.answer")
QUESTION_NOTE: Final = Place("question_notes.body")
SHARED_SECRET: Final = Place("secrets.value")
#: Short-lived: their rows are not sealed anew but left to go.
EVENT: Final = Place("run_events.data")
CACHED_ANSWER: Final = Place("call_cache.body")

#: JSON that stands where content was forgotten; it tells nothing, and so is never sealed.
NOTHING: Final = b"{}"

_STEP: Final = MappingProxyType({"thread_key": "uuid", "ns": "text", "checkpoint_id": "uuid"})
_TASK: Final = MappingProxyType({**_STEP, "task_id": "bytea", "idx": "smallint"})

TABLES: Final = (
    SealedTable(
        table="checkpoints", key=_STEP, identity=tuple(_STEP), columns={"body": (CHECKPOINT_BODY, "bytes")},
    ),
    SealedTable(
        table="checkpoint_writes", key=_TASK, identity=tuple(_TASK), columns={"body": (CHECKPOINT_WRITES, "bytes")},
    ),
    # A copy of rows above, which goes back to where it came from.
    SealedTable(
        table="writes_before", key={"run_id": "uuid", **_TASK}, identity=tuple(_TASK),
        columns={"body": (CHECKPOINT_WRITES, "bytes")},
    ),
    SealedTable(
        table="checkpoint_lists", key={"thread_key": "uuid", "list_id": "bigint", "start": "integer"},
        identity=("thread_key", "list_id", "start"), columns={"items": (CHECKPOINT_LIST, "bytes")},
    ),
    SealedTable(
        table="checkpoint_blobs", key={"thread_key": "uuid", "hash": "uuid"}, identity=("thread_key", "hash"),
        columns={"data": (CHECKPOINT_BLOB, "bytes")},
    ),
    SealedTable(
        table="run_details", key={"run_id": "uuid"}, identity=("run_id",),
        columns={
            "input": (RUN_INPUT, "bytes"), "output": (RUN_OUTPUT, "bytes"), "answer": (RUN_ANSWER, "bytes"),
            "options": (RUN_OPTIONS, "bytes"), "config": (RUN_CONFIG, "json"),
            "interrupts": (RUN_QUESTIONS, "questions"), "error_message": (RUN_ERROR, "text"),
            "cancel_reason": (RUN_CANCEL_REASON, "text"), "discard_reason": (DISCARD_REASON, "text"),
        },
    ),
    SealedTable(
        table="run_attempts", key={"run_id": "uuid", "epoch": "integer"}, identity=("run_id", "epoch"),
        columns={"error_message": (ATTEMPT_ERROR, "text")},
    ),
    SealedTable(
        table="thread_details", key={"thread_key": "uuid"}, identity=("thread_key",),
        columns={
            "values": (THREAD_VALUES, "json"), "interrupts": (THREAD_QUESTIONS, "questions of tasks"),
            "error": (THREAD_ERROR, "json"),
        },
    ),
    SealedTable(
        table="call_journal",
        key={"lineage": "uuid", "task": "uuid", "series": "text", "ordinal": "integer", "hash": "uuid"},
        identity=("lineage", "task", "series", "ordinal", "hash"), columns={"body": (JOURNAL, "bytes")},
    ),
    SealedTable(
        table="effects", key={"key": "text"}, identity=("key",),
        columns={
            "arguments": (EFFECT_ARGUMENTS, "bytes"), "body": (EFFECT_BODY, "bytes"), "error": (EFFECT_ERROR, "text"),
            "answer": (EFFECT_ANSWER, "bytes"),
        },
    ),
    SealedTable(
        table="reviews", key={"thread_key": "uuid", "lineage": "uuid", "position": "integer"},
        identity=("thread_key", "lineage", "position"), columns={"body": (REVIEW_BODY, "bytes")},
    ),
    SealedTable(
        table="crons", key={"id": "uuid"}, identity=("id",),
        columns={"payload": (CRON_PAYLOAD, "bytes"), "template": (CRON_TEMPLATE, "bytes")},
    ),
    SealedTable(
        table="store_items", key={"tenant": "text", "path": "text", "key": "text"}, identity=("path", "key"),
        columns={"value": (ITEM, "json")},
    ),
    SealedTable(
        table="run_feedback", key={"id": "uuid", "run_id": "uuid", "key": "text"}, identity=("run_id", "key"),
        columns={"value": (FEEDBACK_VALUE, "bytes"), "comment": (FEEDBACK_COMMENT, "text")},
    ),
    SealedTable(
        table="questions", key={"id": "uuid"}, identity=("id",),
        columns={"value": (QUESTION_VALUE, "bytes"), "answer": (QUESTION_ANSWER, "bytes")},
    ),
    SealedTable(
        table="question_notes", key={"id": "uuid"}, identity=("id",), columns={"body": (QUESTION_NOTE, "bytes")},
    ),
    SealedTable(
        table="secrets", key={"name": "text"}, identity=("name",), columns={"value": (SHARED_SECRET, "bytes")},
    ),
)  # fmt: skip
#: Sealed, and never walked: by table, its columns.
TRANSIENT: Final = {"run_events": {"data": EVENT}, "call_cache": {"body": CACHED_ANSWER}}

_SEARCHED: Final = "is what lists are filtered by; what is written there is not for secrets"
_NAME: Final = "is a name, or what a name is made of"
_HASH: Final = "is a hash or an id"
#: Columns that stay readable, by table: why they do. `*` is every column of the table.
PLAIN: Final[Mapping[str, Mapping[str, str]]] = {
    "threads": {"thread_id": _NAME, "quarantine_reason": "names a place in the state, no content of it"},
    "thread_details": {
        "metadata": _SEARCHED, "config": "is always empty", "state": _NAME, "ttl_strategy": _NAME,
    },
    "runs": {"*": "is what the queue works with"},
    "run_details": {
        "metadata": _SEARCHED, "error_code": _NAME, "multitask": _NAME, "user_id": _NAME, "key_id": _NAME,
        "webhook": "is an address that the sender has to choose by", "held_by": _NAME,
        "approval": "is what a policy asks, in the words of the project", "discarded_by": _NAME,
    },
    "run_attempts": {"kind": _NAME, "error_code": _NAME},
    "run_history": {"event": _NAME},
    "checkpoints": {"ns": _NAME, "run_id": _HASH, "metadata": _SEARCHED},
    "checkpoint_heads": {"ns": _NAME},
    "checkpoint_writes": {"ns": _NAME, "task_id": _HASH, "task_path": _NAME},
    "writes_before": {"ns": _NAME, "task_id": _HASH, "task_path": _NAME},
    "call_journal": {"series": _NAME},
    "call_cache": {"key": _HASH},
    "call_usage": {"*": "is figures, by name of user, agent and model"},
    "usage_days": {"*": "is figures, by name of user, agent and model"},
    "effects": {"key": _HASH, "name": _NAME, "business_key": _NAME, "agent": _NAME, "state": _NAME},
    "effect_questions": {"key": _HASH, "budget": _NAME, "subject": _NAME, "unit": _NAME},
    "reviews": {"action": _NAME, "question_id": _HASH, "hash": _HASH, "decision": _NAME},
    "input_prints": {"agent": _NAME},
    "questions": {
        "agent": _NAME, "interrupt_id": _HASH, "kind": _NAME, "hash": _HASH, "requester": _NAME, "assignee": _NAME,
        "default_decision": _NAME, "status": _NAME, "decision": _NAME, "answered_by": _NAME,
    },
    "question_notes": {"kind": _NAME, "author": _NAME},
    "crons": {
        "user_id": _NAME, "schedule": _NAME, "timezone": _NAME, "metadata": _SEARCHED, "on_run_completed": _NAME,
    },
    "assistants": {"*": "is how a project sets its agents up: part of the program, searched and versioned"},
    "assistant_versions": {"*": "is as in assistants"},
    "run_events": {"mode": _NAME, "ns": _NAME},
    "run_feedback": {"key": _NAME},
    "store_items": {"path": _NAME, "key": _NAME},
    "store_vectors": {"path": _NAME, "key": _NAME},
    "secrets": {"name": _NAME},
    "idempotency_keys": {"route": _NAME, "key": _NAME, "body_hash": _HASH},
    "webhook_deliveries": {
        "url": "is an address that the sender has to choose by", "state": _NAME,
        "last_error": "is what HTTP said, redacted",
    },
    "notifications": {"*": "is ids, names and kinds: what is told is read when it is sent"},
    "notification_messages": {
        "channel": _NAME, "key": _HASH, "state": _NAME, "incident": _NAME,
        "last_error": "is what the receiver's server said, redacted and without addresses",
    },
    "notification_items": {"*": "is ids, and the name of a channel"},
    "run_observations": {"*": "is figures, by name of agent and model, and codes of errors"},
    "anomaly_baselines": {"*": "is figures, and SimHashes that cannot be turned back, of many runs together"},
    "anomalies": {"*": "is names, figures and codes of errors"},
    "alerts": {"*": "is figures, by name of agent, model, budget and loop"},
    "alert_silences": {"*": "is names, and what an operator has to say"},
    "alert_signals": {"*": "is figures, by name of loop and budget"},
    "slo_counts": {"*": "is figures, by name of agent"},
    "slo_rollups": {"*": "is times"},
    "workers": {"*": "is about processes"},
    "schema_migrations": {"*": "is about the schema"},
    "breakers": {"*": "is about providers"},
    "breaker_tallies": {"*": "is about providers"},
    "rate_limits": {"*": "is about providers"},
    "retry_budgets": {"*": "is about providers"},
    "data_keys": {"*": "is keys, which are wrapped"},
    "encryption": {"*": "says whether there is any"},
    "api_keys": {"*": "is names, and hashes of secrets"},
    "audit_log": {"*": "holds no personal data, and has to be verified without keys"},
    "audit_heads": {"*": "is as in audit_log"},
    "audit_names": {"*": "is who stands behind a pseudonym in the audit log, until that is erased"},
    "admission_decisions": {"*": "is names, and reasons in the words of rules"},
    "admission_limits": {"*": "is names and figures"},
    "budgets": {"*": "is names and figures"},
    "budget_counters": {"*": "is names and figures"},
    "budget_reservations": {"*": "is names and figures"},
    "switches": {"*": "is names, and what an operator has to say"},
    "erasures": {"*": "is figures, and pseudonyms of whom they are about"},
}  # fmt: skip
