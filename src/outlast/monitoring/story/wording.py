"""What happened, in plain words: names and figures, never content, and nothing that steers a terminal."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from outlast.domain.story import Row

_SHORT_KEY: Final = 12
_MICROS: Final = 1_000_000
_Say = Callable[[Mapping[str, Any], "int | None"], str]


def said(row: Row, attempt: int | None) -> str:
    """Return one line about it."""
    say = _WORDS.get(row.what)
    text = row.what if say is None else say(row.facts, attempt)
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def _created(facts: Mapping[str, Any], _attempt: int | None) -> str:
    who = facts["user"] or (f"key {facts['key']}" if facts["key"] else None)
    goes_on = f", goes on for run {facts['goes_on_for']}" if facts["goes_on_for"] else ""
    return f"a run of {facts['agent']} is asked for{f' by {who}' if who else ''}{goes_on}"


def _ended(facts: Mapping[str, Any], _attempt: int | None) -> str:
    code = f" ({facts['error_code']})" if facts["error_code"] else ""
    return f"the run has {_STATUSES.get(facts['status'], facts['status'])}{code} after {_span(facts['seconds'])}"


def _claimed(facts: Mapping[str, Any], attempt: int | None) -> str:
    if facts.get("host"):
        where = f" on {facts['host']}:{facts['pid']}"
    else:
        where = f" on worker {str(facts['worker_id'])[:8]}" if facts.get("worker_id") else ""
    return f"attempt {attempt} begins{where}"


def _waited(_facts: Mapping[str, Any], attempt: int | None) -> str:
    return f"attempt {attempt} ends: the run waits for a person"


def _handed_back(_facts: Mapping[str, Any], attempt: int | None) -> str:
    return f"attempt {attempt} ends: its worker handed the run back"


def _lost(_facts: Mapping[str, Any], attempt: int | None) -> str:
    return f"attempt {attempt} is lost: its worker died, or could not say that it lives"


def _taken(facts: Mapping[str, Any], attempt: int | None) -> str:
    return f"attempt {attempt} is ended by recovery: {facts['error_code']}"


def _failed(facts: Mapping[str, Any], attempt: int | None) -> str:
    return f"attempt {attempt} fails: {facts['error_code']}"


def _step(facts: Mapping[str, Any], _attempt: int | None) -> str:
    nodes = ", ".join(task["node"] for task in facts["tasks"])
    number = "" if facts["step"] is None else f" {facts['step']}"
    if facts["made_by"] == "input":
        return "the input is saved"
    if facts["made_by"] in {"update", "fork"}:
        return f"the state is changed from outside ({facts['made_by']}), step{number}"
    return f"step{number} is saved{f': {nodes}' if nodes else ''}"


def _task(facts: Mapping[str, Any], _attempt: int | None) -> str:
    node = facts["node"] or "the input"
    if facts["done"]:
        return f"{node} is done, its step is not"
    return f"{node} asks" if facts["asks"] else f"{node} raises"


def _call(facts: Mapping[str, Any], _attempt: int | None) -> str:
    model = f"{facts['provider']}:{facts['model']}"
    tokens = f"{facts['input_tokens']:,} + {facts['output_tokens']:,} tokens"
    again = f", try {facts['try']}" if facts["try"] > 1 else ""
    if facts["outcome"] == "failed":
        return f"{model} fails after {_span(facts['seconds'])}{again}"
    if facts["outcome"] == "cache":
        return f"{model} is answered out of the cache, saving {_dollars(facts['saved_micros'])}"
    return f"{model} answers: {tokens}, {_dollars(facts['cost_micros'])}, {_span(facts['seconds'])}{again}"


def _effect(facts: Mapping[str, Any], attempt: int | None) -> str:
    last = facts.get("last_attempt")
    later = f", by attempt {last}" if last and attempt and last > attempt else ""
    calls = f" after {facts['calls']} calls" if facts["calls"] > 1 else ""
    said_by = ", a person said so" if facts["answered_at"] else ""
    state = _STATES.get(facts["state"], facts["state"])
    return f"{facts['name']} {facts['key'][:_SHORT_KEY]} {state}{calls}{later}{said_by}"


def _budget(facts: Mapping[str, Any], _attempt: int | None) -> str:
    figures = ""
    if facts["limit"] is not None and facts["spent"] is not None:
        figures = f": {_amount(facts['spent'], facts['unit'])} of {_amount(facts['limit'], facts['unit'])}"
    released = ", released since" if facts["released_at"] else ""
    return f"budget {facts['budget']} stops the run{figures}{released}"


def _asked(facts: Mapping[str, Any], _attempt: int | None) -> str:
    whom = f", of {facts['assignee']}" if facts["assignee"] else ""
    due = f", due {facts['due_at'][:16]}" if facts["due_at"] else ""
    two = ", two people decide" if facts["needs"] > 1 else ""
    return f"a person is asked ({facts['kind']}){whom}{due}{two}"


def _answered(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"{facts['by'] or 'somebody'} answers: {facts['decision']} ({facts['kind']})"


def _expired(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"nobody has answered in time: {facts['decision']} by default ({facts['kind']})"


def _withdrawn(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"nobody waits for the answer any more ({facts['kind']})"


def _vote(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"{facts['by'] or 'somebody'} decides, the first of two"


def _comment(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"{facts['by'] or 'somebody'} comments"


def _review(facts: Mapping[str, Any], _attempt: int | None) -> str:
    decided = f", a person said {facts['decision']}" if facts["decision"] else ""
    return f"the output is not acceptable: {facts['action']}{decided}"


def _admission(facts: Mapping[str, Any], _attempt: int | None) -> str:
    by = f" by {facts['stage']}" if facts["stage"] else ""
    why = f": {facts['reason']}" if facts["reason"] else ""
    times = f", {facts['times']} times" if facts["times"] > 1 else ""
    return f"{_VERDICTS.get(facts['verdict'], facts['verdict'])}{by}{why}{times}"


def _cancelled(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return "a rollback is asked for" if facts["action"] == "rollback" else "a cancellation is asked for"


def _discarded(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"the failed run is discarded by {facts['by'] or 'somebody'}"


def _replayed(_facts: Mapping[str, Any], _attempt: int | None) -> str:
    return "the run had failed, and is replayed"


def _revived(_facts: Mapping[str, Any], _attempt: int | None) -> str:
    return "the run had failed, and recovery replays it"


def _webhook(facts: Mapping[str, Any], _attempt: int | None) -> str:
    times = f" after {facts['attempts']} tries" if facts["attempts"] > 1 else ""
    return f"the report to the webhook is {facts['state']}{times}"


def _notification(facts: Mapping[str, Any], _attempt: int | None) -> str:
    channels = ", ".join(f"{each['channel']} ({each['state']})" for each in facts["channels"])
    return f"people are told ({facts['event']}){f': {channels}' if channels else ''}"


def _feedback(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"feedback {facts['key']}" if facts["score"] is None else f"feedback {facts['key']}: {facts['score']:g}"


def _audit(facts: Mapping[str, Any], _attempt: int | None) -> str:
    return f"{facts['actor']}: {facts['action']}"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _amount(count: int, unit: str | None) -> str:
    return f"{count:,} tokens" if unit == "tokens" else _dollars(count)


def _dollars(micros: int | None) -> str:
    return "an unknown price" if micros is None else f"${micros / _MICROS:.6f}".rstrip("0").rstrip(".")


_STATUSES: Final = {"cancelled": "been cancelled", "interrupted": "ended with a question"}
_STATES: Final = {
    "intent": "is being called", "done": "is done", "failed": "was certainly not applied",
    "unknown": "was begun, and nobody knows whether it was applied",
}  # fmt: skip
_VERDICTS: Final = {
    "allow": "let in",
    "refuse": "refused",
    "later": "let in for later",
    "ask": "a person has to say yes",
}
_WORDS: Final[Mapping[str, _Say]] = {
    "run.created": _created, "run.ended": _ended, "run.cancel_requested": _cancelled, "run.discarded": _discarded,
    "run.replayed": _replayed, "run.revived": _revived, "attempt.claimed": _claimed, "attempt.waited": _waited,
    "attempt.handed_back": _handed_back, "attempt.lost": _lost, "attempt.taken": _taken, "attempt.failed": _failed,
    "step": _step, "task": _task, "call": _call, "effect": _effect, "budget.stopped": _budget,
    "question.asked": _asked, "question.answered": _answered, "question.expired": _expired,
    "question.withdrawn": _withdrawn, "question.vote": _vote, "question.comment": _comment, "review": _review,
    "admission": _admission, "webhook": _webhook, "notification": _notification, "feedback": _feedback,
    "audit": _audit,
}  # fmt: skip
