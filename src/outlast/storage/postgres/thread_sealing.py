"""Threads as they are shown, decrypted."""

from typing import Any

from outlast.storage.postgres.resealing import open_by_task
from outlast.storage.postgres.sealed_columns import THREAD_ERROR, THREAD_QUESTIONS, THREAD_VALUES
from outlast.storage.postgres.sealing import Sealing


async def opened_thread(sealing: Sealing, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row of `threads.get` as it was: values, what is asked, and the error."""
    if not sealing.on:
        return row
    key = row[0]
    return (
        *row[:7],
        await sealing.open_json(THREAD_VALUES, row[7], key),
        await open_by_task(sealing, THREAD_QUESTIONS, row[8], key),
        *row[9:11],
        await sealing.open_json(THREAD_ERROR, row[11], key),
        *row[12:],
    )
