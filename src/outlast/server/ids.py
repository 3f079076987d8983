"""Ids in paths: UUIDs, as the SDKs send them, and the names of threads that other routes have made."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from outlast.admission.names import check_name
from outlast.errors import InvalidInput
from outlast.server.current import CurrentRuntime

_AsUuid = Path(json_schema_extra={"format": "uuid"})


def uuid_of(text: str, *, kind: str, field: str) -> UUID:
    """Return the id; raises InvalidInput when it is none."""
    try:
        return UUID(text)
    except ValueError:
        msg = f"Invalid {kind} ID: must be a UUID"
        raise InvalidInput(msg, field=field) from None


def run_id_of(text: str) -> UUID:
    """Return a run's id; raises InvalidInput."""
    return uuid_of(text, kind="run", field="run_id")


def new_thread_id(text: str) -> str:
    """Return the id of a thread that may have to be made: a UUID, in the one spelling that names it."""
    return str(uuid_of(text, kind="thread", field="thread_id"))


async def known_thread_id(text: str, runtime: CurrentRuntime) -> str:
    """Return the id of a thread, which may be the name of one that is there; raises InvalidInput."""
    try:
        return str(UUID(text))
    except ValueError:
        if await runtime.threads.exists(check_name(text, field="thread_id")):
            return text
        return new_thread_id(text)


async def _thread_id(thread_id: Annotated[str, _AsUuid], runtime: CurrentRuntime) -> str:
    return await known_thread_id(thread_id, runtime)


async def _run_id(run_id: Annotated[str, _AsUuid]) -> UUID:
    return run_id_of(run_id)


async def _assistant_id(assistant_id: Annotated[str, _AsUuid]) -> UUID:
    return uuid_of(assistant_id, kind="assistant", field="assistant_id")


async def _cron_id(cron_id: Annotated[str, _AsUuid]) -> UUID:
    return uuid_of(cron_id, kind="cron", field="cron_id")


ThreadId = Annotated[str, Depends(_thread_id)]
RunId = Annotated[UUID, Depends(_run_id)]
AssistantId = Annotated[UUID, Depends(_assistant_id)]
CronId = Annotated[UUID, Depends(_cron_id)]
