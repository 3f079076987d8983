"""The errors of admission and of the inbox: why something may not start, go on or be answered. Part of `errors`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from outlast.errors import Conflict, OutlastError


class AdmissionRefused(OutlastError):
    """The run may not start (now); nothing was stored. `details` is for programs, `retry_after` in seconds."""

    code = "admission_refused"

    def __init__(
        self, message: str, *, details: Mapping[str, Any] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.details: Mapping[str, Any] = details or {}
        self.retry_after = retry_after


class RateLimited(AdmissionRefused):
    """Too many requests in too short a time; the same request is let in after `retry_after` seconds.

    `retry_after` None: never, it asks for more at once than the limit lets in at all. `limit` requests may pass in
    `window` seconds, `remaining` of them are left.
    """

    code = "rate_limited"
    retryable = True

    def __init__(
        self, message: str, *, rule: str, retry_after: float | None, limit: int, window: float, remaining: int = 0
    ) -> None:
        super().__init__(message, details={"rule": rule}, retry_after=retry_after)
        self.rule = rule
        self.limit = limit
        self.window = window
        self.remaining = remaining


class QueueFull(AdmissionRefused):
    """The tenant has as many runs in the queue as it may have, or they wait for too long already."""

    code = "queue_full"
    retryable = True

    def __init__(self, message: str, *, setting: str, retry_after: float) -> None:
        super().__init__(message, details={"setting": setting}, retry_after=retry_after)
        self.setting = setting


class Overloaded(QueueFull):
    """The queue as a whole is as long as it may be, or its runs wait for too long already."""

    code = "overloaded"


class BudgetExceeded(AdmissionRefused):
    """A budget is spent, or would be by this call; raise the limit, or come back after `resets_at`.

    `limit` and `spent` count `unit`s: millionths of a US dollar, or tokens. `spent` holds what is reserved, too.
    """

    code = "budget_exceeded"

    def __init__(
        self, message: str, *, budget: str, limit: int, spent: int, unit: str, resets_at: datetime | None = None
    ) -> None:
        reset = None if resets_at is None else resets_at.isoformat()
        details = {"budget": budget, "limit": limit, "spent": spent, "unit": unit, "resets_at": reset}
        super().__init__(message, details=details)
        self.budget = budget
        self.limit = limit
        self.spent = spent
        self.unit = unit
        self.resets_at = resets_at


class PolicyRefused(AdmissionRefused):
    """A policy does not allow it; `policy` is its name."""

    code = "policy_refused"

    def __init__(self, *, policy: str, reason: str) -> None:
        super().__init__(f"policy {policy!r} refused it: {reason}", details={"policy": policy, "reason": reason})
        self.policy = policy
        self.reason = reason


class QuestionClosed(Conflict):
    """The question was answered already, took its default, or nobody waits for the answer any more.

    `details` say who was first, when, and with which decision.
    """

    code = "already_answered"

    def __init__(
        self, *, question_id: str, status: str, by: str | None, at: datetime | None, decision: str | None
    ) -> None:
        when = "" if at is None else f" at {at.isoformat(timespec='seconds')}"
        told = {
            "answered": f"was answered by {by}{when}: {decision}",
            "expired": f"expired{when}, and its default was taken: {decision}",
        }.get(status, "was withdrawn: its run ended, or the thread has moved on, and nobody waits for an answer")
        details = {
            "question_id": question_id, "question_status": status, "answered_by": by,
            "answered_at": None if at is None else at.isoformat(), "decision": decision,
        }  # fmt: skip
        super().__init__(f"question {question_id} {told}", details=details)


class QuestionChanged(Conflict):
    """What is to be decided is not what was looked at, or not what the first of two people has decided."""

    code = "question_changed"

    def __init__(self, message: str, *, question_id: str, hash: str) -> None:  # noqa: A002 - the word for it
        super().__init__(message, details={"question_id": question_id, "hash": hash})
