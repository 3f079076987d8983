"""What the present task has read, which decides whether it may leave the line of a thread.

A checkpoint that was addressed by its id (and is not the head) may be forked from; a namespace that was empty when it
was read may only be started by whoever is first. Kept in a context variable: what one run read gives no other run a
right. Bounded, since a task may live long.
"""

from contextvars import ContextVar
from uuid import UUID

Observations = tuple[object, ...]

_seen: ContextVar[Observations] = ContextVar("outlast_checkpoints_seen", default=())
_LIMIT = 64


def saw_empty(key: bytes, ns: str) -> None:
    """Note that a namespace had no checkpoint."""
    _remember((key, ns, "empty"))


def addressed(key: bytes, ns: str, checkpoint_id: UUID) -> None:
    """Note that an older checkpoint was asked for by its id."""
    _remember((key, ns, checkpoint_id))


def may_fork(key: bytes, ns: str, parent_id: UUID | None) -> bool:
    """Whether a child of this checkpoint (None: a new first one) may leave the line."""
    if parent_id is None:
        return (key, ns, "empty") not in _seen.get()
    return (key, ns, parent_id) in _seen.get()


def observations() -> Observations:
    """Return what was seen, to hand it to another context."""
    return _seen.get()


def adopt(seen: Observations) -> None:
    """Take over what another context, working for this one, has seen."""
    _seen.set(seen)


def _remember(observation: object) -> None:
    seen = _seen.get()
    if observation not in seen:
        _seen.set((*seen[1 - _LIMIT :], observation))
