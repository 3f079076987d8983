"""What runs are started with, ask and end with, encrypted on its way to their rows and decrypted on its way back."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from outlast.storage.postgres import sealed_columns as place
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.resealing import seal_by_task
from outlast.storage.postgres.sealing import Sealing
from outlast.storage.postgres.together import Step

Row = tuple[Any, ...]


async def sealed_new_run(sealing: Sealing, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of `enqueue` as they are stored. Its questions are ids, and stay."""
    if not sealing.on:
        return parameters
    run_id: UUID = parameters["id"]
    config = await sealing.seal_json(place.RUN_CONFIG, parameters["config"].obj, run_id)
    return {
        **parameters,
        "input": await sealing.seal(place.RUN_INPUT, parameters["input"], run_id),
        "config": jsonb(config),
        "options": await sealing.seal(place.RUN_OPTIONS, parameters["options"], run_id),
        "answer": await sealing.seal(place.RUN_ANSWER, parameters["answer"], run_id),
    }


async def sealed_steps(sealing: Sealing, steps: list[Step]) -> list[Step]:
    """Return the steps that take a run in, with what `enqueue` stores sealed."""
    if not sealing.on:
        return steps
    return [
        step._replace(parameters=await sealed_new_run(sealing, step.parameters)) if step.name == "enqueue" else step
        for step in steps
    ]


async def sealed_settlement(sealing: Sealing, thread: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of `settle` as they are stored."""
    if not sealing.on:
        return parameters
    run_id: UUID = parameters["id"]
    questions, by_task = _plain(parameters["interrupts"]), _plain(parameters["questions"])
    return {
        **parameters,
        "output": await sealing.seal(place.RUN_OUTPUT, parameters["output"], run_id),
        "interrupts": _json(await sealing.seal_questions(place.RUN_QUESTIONS, questions, run_id)),
        "error_message": await sealing.seal_text(place.RUN_ERROR, parameters["error_message"], run_id),
        "questions": _json(await seal_by_task(sealing, place.THREAD_QUESTIONS, by_task, thread)),
        "thread_values": await sealed_values(sealing, thread, parameters["thread_values"]),
        "thread_error": await sealed_error(sealing, thread, parameters["thread_error"]),
    }


async def sealed_values(sealing: Sealing, thread: bytes, values: Any) -> Any:
    """Return the parameter for the values of a thread, which is JSON already (`encoded_jsonb`)."""
    if values is None or not sealing.on:
        return values
    text = await sealing.seal_text(place.THREAD_VALUES, values.obj.decode("utf-8", "surrogatepass"), thread)
    return jsonb(text)


async def sealed_error(sealing: Sealing, thread: bytes, error: Any) -> Any:
    """Return the parameter for the error of a thread."""
    if error is None or not sealing.on:
        return error
    return _json(await sealing.seal_json(place.THREAD_ERROR, error.obj, thread))


async def sealed_questions(sealing: Sealing, thread: bytes, questions: Any) -> Any:
    """Return the parameter for what a thread asks, by task."""
    if questions is None or not sealing.on:
        return questions
    return _json(await seal_by_task(sealing, place.THREAD_QUESTIONS, questions.obj, thread))


async def opened_claim(sealing: Sealing, row: Row) -> Row:
    """Return a row of `claim` as it was stored by whoever asked for the run."""
    if not sealing.on:
        return row
    # What it says while it runs cannot wait for a key.
    await sealing.ready_like(row[5])
    changed = {
        5: await sealing.open(place.RUN_INPUT, row[5], row[0]),
        6: await sealing.open_json(place.RUN_CONFIG, row[6], row[0]),
        12: await sealing.open(place.RUN_ANSWER, row[12], row[0]),
        17: await sealing.open(place.RUN_OPTIONS, row[17], row[0]),
    }
    return _with(row, changed)


async def opened_views(sealing: Sealing, rows: Sequence[Row]) -> Sequence[Row]:
    """Return rows with the columns of `run_views.one` as they were."""
    return [await opened_view(sealing, row) for row in rows] if sealing.on else rows


async def opened_view(sealing: Sealing, row: Row) -> Row:
    """Return one such row."""
    if not sealing.on:
        return row
    changed = {
        15: await sealing.open(place.RUN_OUTPUT, row[15], row[0]),
        16: await sealing.open_questions(place.RUN_QUESTIONS, row[16], row[0]),
        18: await sealing.open_text(place.RUN_ERROR, row[18], row[0]),
        25: await sealing.open(place.RUN_OPTIONS, row[25], row[0]),
        29: await sealing.open_text(place.RUN_CANCEL_REASON, row[29], row[0]),
        33: await sealing.open(place.RUN_INPUT, row[33], row[0]),
        34: await sealing.open_json(place.RUN_CONFIG, row[34], row[0]),
    }
    return _with(row, changed)


async def opened_end(sealing: Sealing, row: Row) -> Row:
    """Return a row of `events.news` as it was: what a run said, or how it ended."""
    if not sealing.on:
        return row
    if row[2] is not None:
        data = await opened_event(sealing, row[5], thread=row[0], pos=row[2], run_id=row[1], mode=row[3])
        return _with(row, {5: data})
    changed = {
        12: await sealing.open_text(place.RUN_ERROR, row[12], row[1]),
        13: await sealing.open_questions(place.RUN_QUESTIONS, row[13], row[1]),
        14: await sealing.open(place.RUN_OPTIONS, row[14], row[1]),
    }
    return _with(row, changed)


async def opened_event(
    sealing: Sealing, data: bytes, *, thread: UUID, pos: int, run_id: UUID | None, mode: str
) -> bytes:  # fmt: skip
    """Return what was said as it was. The place of what no run has said is known only after it was stored."""
    identity = (thread, pos) if run_id is not None else (thread, "outside", mode)
    return await sealing.open(place.EVENT, data, *identity) or b""


def _with(row: Row, changed: Mapping[int, Any]) -> Row:
    return tuple(changed.get(number, value) for number, value in enumerate(row))


def _plain(parameter: Any) -> Any:
    return None if parameter is None else parameter.obj


def _json(value: Any) -> Any:
    return None if value is None else jsonb(value)
