"""A question to a person, what they may decide, and on which terms.

A question is the value of an interrupt: whatever a graph, LangChain's middleware or one of our own calls asks with.
What the inbox knows of it stands in the value's own keys, all of them optional; what is missing or makes no sense is as
the settings say, since a value that nobody understands still has to be answered by somebody.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias, cast
from uuid import UUID

from outlast.domain.acting import principal
from outlast.errors import InvalidInput

Word = Literal["approve", "edit", "reject", "respond"]
WORDS: Final[tuple[Word, ...]] = ("approve", "edit", "reject", "respond")
#: Who answers when nobody does.
BY_DEFAULT: Final = "default"
#: Who answers where nobody is asked who they are.
ANYBODY: Final = "anybody"

#: Kinds by the `type` of the value; any other value is asked by a plain `interrupt`.
KINDS: Final[Mapping[str, str]] = {
    "review": "review", "escalation": "escalation", "tool_approval": "tool_approval",
    "effect_unknown": "effect_unknown", "budget": "budget", "budget_exceeded": "budget", "approval": "approval",
}  # fmt: skip
#: What may be decided where the value does not say it.
_ALLOWED: Final[Mapping[str, tuple[Word, ...]]] = {
    "tool_approval": ("approve", "reject"),
    "effect_unknown": ("approve", "reject", "respond"),
    "budget": ("approve", "reject"),
    "approval": ("approve", "reject"),
}
_CONFIGS: Final[Mapping[str, Word]] = {
    "allow_accept": "approve", "allow_edit": "edit", "allow_ignore": "reject", "allow_respond": "respond",
}  # fmt: skip
# In a chat the answer is a text.
_WORDS: Final[Mapping[str, bool]] = {"yes": True, "no": False, "true": True, "false": False}
_LONGEST_SECONDS: Final = 10 * 365 * 86400.0
_MOST_MESSAGE: Final = 10_000
_DIGEST: Final = 64


def by_whom() -> str:
    """Return who answers, as rows and people say it: the principal of this context."""
    who = principal()
    return who.user or (f"key:{who.key_id}" if who.key_id else ANYBODY)


class QuestionStatus(StrEnum):
    """What was written down of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"  # nobody answered in time, and its default was taken
    WITHDRAWN = "withdrawn"  # nobody waits for the answer any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decides. `value` is the edited subject or the response; `hash` must be the question's, if given."""

    decision: Word
    value: Any = None
    message: str | None = None
    hash: str | None = None

    @classmethod
    def of_json(cls, given: Any, *, field: str = "decision") -> "Decision":
        """Read what was sent; a bare word is a decision without a value. Raises InvalidInput that names the field."""
        sent: Any = {"decision": given} if isinstance(given, str) else given
        if not isinstance(sent, Mapping):
            raise InvalidInput('a decision is an object: {"decision": "approve"}', field=field)
        body = cast("Mapping[str, Any]", sent)
        if unknown := sorted(set(map(str, body)) - {"decision", "value", "message", "hash"}):
            raise InvalidInput(f"a decision has no {unknown[0][:100]!r}", field=field)
        if body.get("decision") not in WORDS:
            raise InvalidInput(f"decide one of {', '.join(WORDS)}", field=field)
        message, digest = body.get("message"), body.get("hash")
        if message is not None and (not isinstance(message, str) or len(message) > _MOST_MESSAGE):
            raise InvalidInput(f"a message is a text of at most {_MOST_MESSAGE:,} characters", field="message")
        if digest is not None and (not isinstance(digest, str) or len(digest) != _DIGEST):
            raise InvalidInput("a hash is 64 hexadecimal digits, as the question shows it", field="hash")
        return cls(decision=body["decision"], value=body.get("value"), message=message, hash=digest)

    def to_json(self) -> dict[str, Any]:
        """Return what was said, without what was not."""
        said = {"decision": self.decision, "value": self.value, "message": self.message}
        return {key: value for key, value in said.items() if value is not None}

    @property
    def digest(self) -> str:
        """Return the hash of what was decided; two people agree when it is the same, whatever they say with it."""
        return hash_of([self.decision, self.value])


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of questions that do not bring their own."""

    deadline_seconds: float | None = None
    default: Word | None = None
    needs: int = 1
    not_requester: bool = False
    assign_to: str | None = None


#: The terms of an agent's questions of a kind.
TermsOf: TypeAlias = Callable[[str, str], Terms]
NO_TERMS: Final = Terms()


def no_terms(_agent: str, _kind: str) -> Terms:
    """Return the terms where nobody has set any."""
    return NO_TERMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a person is asked."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """What somebody said about a question."""

    id: UUID
    author: str | None
    text: str
    said_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The decision of the first of two people."""

    author: str | None
    decision: Decision
    said_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question as a run asks it, before it is a row."""

    interrupt_id: str
    kind: str
    value: Any
    hash: str
    allowed: tuple[Word, ...]
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question as people see it.

    `status` is `withdrawn` as soon as nobody waits for the answer, whether that was written down already or not.
    `answered_at` is when it was answered, expired, or was withdrawn.
    """

    id: UUID
    run_id: UUID
    thread_id: str
    agent: str
    tenant: str
    interrupt_id: str
    kind: str
    value: Any
    hash: str
    allowed: tuple[Word, ...]
    requester: str | None
    assignee: str | None
    needs: int
    not_requester: bool
    asked_at: datetime
    due_at: datetime | None
    reminders: int
    default_decision: Word | None
    status: QuestionStatus
    decision: Word | None
    answered_by: str | None
    answered_at: datetime | None
    #: What was decided, with its value and message.
    answer: Decision | None
    votes: tuple[Vote, ...] = ()
    comments: tuple[Comment, ...] = ()
    #: Past its deadline, and still open; by the database's clock.
    overdue: bool = False
    #: Its run waits for this answer, and for nothing else.
    alone: bool = False

    @property
    def question(self) -> str:
        """Return the text of the question."""
        return text_of(self.kind, self.value)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Return why a person is asked, as far as the asker says it."""
        return reasons_of(self.value)

    @property
    def subject(self) -> Any:
        """Return exactly what is approved."""
        return subject_of(self.value)

    @property
    def diff(self) -> Any:
        """Return what would change, as the asker shows it."""
        return _own(self.value).get("diff")

    @property
    def links(self) -> Any:
        """Return where more is to be seen, as the asker says it."""
        return _own(self.value).get("links")

    @property
    def default(self) -> Decision | None:
        """Return what is decided when nobody does."""
        if self.default_decision is None:
            return None
        own = _default(_own(self.value).get("default"))
        if own is not None and own.decision == self.default_decision:
            return own
        return Decision(decision=self.default_decision)


def asking(interrupt_id: str, value: Any, *, agent: str, terms_of: TermsOf = no_terms) -> Asking:
    """Return what a value asks, on its own terms where it has some. Never fails: what makes no sense is left out."""
    kind = kind_of(value)
    general, own = terms_of(agent, kind), _own(value)
    allowed = allowed_of(kind, value)
    seconds, assignee, needs = own.get("deadline_seconds"), own.get("assign_to"), own.get("needs")
    default = _default(own.get("default"))
    word = default.decision if default is not None else general.default
    terms = Terms(
        deadline_seconds=_seconds(seconds) or general.deadline_seconds,
        default=word if word in allowed else None,
        needs=int(needs) if isinstance(needs, int) and needs in {1, 2} else general.needs,
        not_requester=own["not_requester"] if isinstance(own.get("not_requester"), bool) else general.not_requester,
        assign_to=storable(assignee) if isinstance(assignee, str) and assignee else general.assign_to,
    )
    return Asking(
        interrupt_id=interrupt_id, kind=kind, value=value, hash=subject_hash(value), allowed=allowed, terms=terms
    )


def kind_of(value: Any) -> str:
    """Return who asks in this way."""
    own = _own(value)
    if isinstance(own.get("action_requests"), list) or is_call(value):
        return "hitl"
    if isinstance(own.get("action_request"), Mapping):
        return "agent_inbox"
    named = own.get("type")
    return KINDS.get(named, "interrupt") if isinstance(named, str) else "interrupt"


def is_call(value: Any) -> bool:
    """Whether LangChain's middleware asks about one call of a tool; our own approvals have no id of the call."""
    own = _own(value)
    return own.get("type") == "tool_approval" and "tool_call_id" in own


def allowed_of(kind: str, value: Any) -> tuple[Word, ...]:
    """Return what may be decided about the value."""
    own = _own(value)
    usual = _ALLOWED.get(kind, WORDS)
    if isinstance(own.get("allowed"), list):
        return _words(own["allowed"]) or usual
    if kind == "hitl" and isinstance(own.get("review_configs"), list):
        # One decision for all calls is one that each of them allows.
        configs = [_words(_own(config).get("allowed_decisions")) for config in own["review_configs"]]
        return tuple(word for word in WORDS if all(word in words for words in configs)) or WORDS
    if kind == "agent_inbox" and isinstance(own.get("config"), Mapping):
        config = _own(own["config"])
        return tuple(word for name, word in _CONFIGS.items() if config.get(name)) or WORDS
    return usual


def text_of(kind: str, value: Any) -> str:
    """Return the words of the question."""
    own = _own(value)
    if isinstance(own.get("question"), str):
        return own["question"]
    if kind == "hitl":
        calls = [own] if is_call(value) else [_own(each) for each in own.get("action_requests") or ()]
        return "\n".join(str(call.get("description") or f"call {call.get('name')}?") for call in calls)
    if isinstance(own.get("description"), str):
        return own["description"]
    if kind == "effect_unknown":
        return f"Was {own.get('effect') or 'this effect'} applied? Nobody knows what became of it."
    return value if isinstance(value, str) else str(own.get("how") or "")


def reasons_of(value: Any) -> tuple[Reason, ...]:
    """Return why a person is asked; a `reason` (one text) counts as well."""
    own = _own(value)
    given: list[Any] = cast("list[Any]", own["reasons"]) if isinstance(own.get("reasons"), list) else []
    listed = [_reason(each) for each in given]
    if not listed and isinstance(own.get("reason"), str):
        listed = [Reason(code=str(own.get("type") or "reason"), text=own["reason"])]
    return tuple(listed)


def subject_of(value: Any) -> Any:
    """Return exactly what is approved: the `subject`, else the value without what may differ from time to time."""
    own = _own(value)
    if "subject" in own:
        return own["subject"]
    return {key: item for key, item in own.items() if key != "deadline_seconds"} if own else value


def subject_hash(value: Any) -> str:
    """Return the hash that an approval is bound to."""
    return hash_of(subject_of(value))


def hash_of(value: Any) -> str:
    """Return the SHA-256, hexadecimal, of the canonical JSON: keys in order, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def word_of(kind: str, answer: Any) -> Word:
    """Return what an answer decides that did not come as a decision; what is neither yes nor no is a response."""
    own = _own(answer)
    if own.get("decision") in WORDS:
        return own["decision"]
    if kind == "approval" and isinstance(answer, str):
        answer = _WORDS.get(answer.strip().lower(), answer)
    said = own.get({"budget": "go_on", "effect_unknown": "applied"}.get(kind, "approved")) if own else answer
    if isinstance(said, bool):
        return "approve" if said else "reject"
    given: list[Any] = own["decisions"] if isinstance(own.get("decisions"), list) else [own]
    words = _words([_own(each).get("type") for each in given])
    return words[0] if len(words) == 1 else "respond"


def storable(text: str) -> str:
    """PostgreSQL's text holds neither NUL nor lone surrogates."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _own(value: Any) -> dict[str, Any]:
    """Return the keys of a value; Agent Inbox sends its request as a list of one."""
    if isinstance(value, Sequence) and not isinstance(value, str) and len(cast("list[Any]", value)) == 1:
        value = cast("list[Any]", value)[0]
        return cast("dict[str, Any]", value) if isinstance(value, dict) and "action_request" in value else {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _words(given: Any) -> tuple[Word, ...]:
    listed: list[Any] = cast("list[Any]", given) if isinstance(given, list) else []
    return tuple(word for word in WORDS if word in listed)


def _default(given: Any) -> Decision | None:
    try:
        return None if given is None else Decision.of_json(given)
    except InvalidInput:
        return None


def _seconds(given: Any) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return min(float(given), _LONGEST_SECONDS) if given > 0 and math.isfinite(given) else None


def _reason(given: Any) -> Reason:
    own = _own(given)
    text = str(own.get("text") or "") if own else str(given)
    return Reason(code=str(own.get("code") or "reason"), text=text)
