"""Which checkpoint a LangGraph configuration means."""

from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from outlast.errors import InvalidInput
from outlast.storage.postgres import checkpoints

# Each step asks for the key of its thread several times.
thread_key = lru_cache(maxsize=4096)(checkpoints.thread_key)
parsed_id = lru_cache(maxsize=4096)(UUID)


class Address(NamedTuple):
    """A thread, a namespace in it, and a checkpoint there (None: the head).

    `known` is False for an id that is not a UUID: no checkpoint has it.
    """

    thread_id: str
    key: bytes
    ns: str
    checkpoint_id: UUID | None
    known: bool = True

    def required(self) -> UUID:
        """Return the checkpoint's id; raises InvalidInput when there is none."""
        if self.checkpoint_id is None:
            msg = "put_writes needs the checkpoint_id of the step it belongs to"
            raise InvalidInput(msg, field="configurable.checkpoint_id")
        return self.checkpoint_id


class Filter(NamedTuple):
    """Like Address, where None does not filter."""

    key: bytes | None
    ns: str | None
    checkpoint_id: UUID | None
    known: bool = True


def address_of(config: RunnableConfig) -> Address:
    """Return what a configuration addresses."""
    configurable = config.get("configurable") or {}
    thread_id = str(configurable["thread_id"])
    checkpoint_id, known = _checkpoint_id(configurable.get("checkpoint_id"))
    return Address(thread_id, thread_key(thread_id), str(configurable.get("checkpoint_ns") or ""), checkpoint_id, known)


def filter_of(config: RunnableConfig | None) -> Filter:
    """Return what a configuration selects."""
    configurable = (config or {}).get("configurable") or {}
    thread_id = configurable.get("thread_id")
    ns = configurable.get("checkpoint_ns")
    checkpoint_id, known = _checkpoint_id(configurable.get("checkpoint_id"))
    return Filter(
        None if thread_id is None else thread_key(str(thread_id)), None if ns is None else str(ns), checkpoint_id, known
    )


def config_of(thread_id: str, ns: str, checkpoint_id: UUID) -> RunnableConfig:
    """Return the configuration that addresses a checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": ns, "checkpoint_id": str(checkpoint_id)}}


def _checkpoint_id(wanted: object) -> tuple[UUID | None, bool]:
    if not wanted:
        return None, True
    try:
        return parsed_id(str(wanted)), True
    except ValueError:
        return None, False
