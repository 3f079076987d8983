"""What is stored, as JSON lines that another program can read: one row each, and a first and a last line about them."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import orjson

from outlast.agents.checkpoints.nodes import DeltaReference, ListReference, Reference, unpack
from outlast.agents.codec import Codec
from outlast.agents.jsonable import jsonable
from outlast.domain.erasure import Subject
from outlast.errors import StateUnreadable
from outlast.storage.postgres.export import ExportedRow

_VERSION: Final = 1
#: Columns of bytes that hold JSON; the others hold values of the codec, or trees of them.
_JSON: Final = frozenset({
    ("run_details", "input"), ("run_details", "output"), ("run_details", "answer"), ("run_details", "options"),
    ("effects", "arguments"), ("effects", "answer"), ("crons", "payload"), ("crons", "template"),
    ("run_events", "data"), ("run_feedback", "value"),
    ("questions", "value"), ("questions", "answer"), ("question_notes", "body"),
})  # fmt: skip


async def exported_lines(
    rows: AsyncIterable[ExportedRow], subject: Subject, codec: Codec, *, tenant: str
) -> AsyncGenerator[bytes]:
    r"""Yield lines that end in `\n`: `{"export": ...}`, `{"table": ..., "row": ...}` for each row, `{"end": ...}`.

    An archive without its last line is not whole.
    """
    counted: Counter[str] = Counter()
    about = {"version": _VERSION, "tenant": tenant, subject.scope.value: subject.name, "at": datetime.now(UTC)}
    yield _line({"export": about})
    async for table, values in rows:
        counted[table] += 1
        row = {column: _legible(codec, table, column, value) for column, value in values.items()}
        yield _line({"table": table, "row": row})
    yield _line({"end": {"rows": sum(counted.values()), "tables": dict(counted)}})


def _line(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def _legible(codec: Codec, table: str, column: str, value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    if (table, column) in _JSON:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value.hex()
    return _decoded(codec, value)


def _decoded(codec: Codec, data: bytes) -> Any:
    for read in (lambda: codec.decode(data, path="export"), lambda: _tree(codec, unpack(data, path="export"))):
        try:
            return jsonable(read())
        except StateUnreadable:
            continue
    return data.hex()


def _referred(codec: Codec, node: Reference | ListReference | DeltaReference) -> Any:
    if isinstance(node, Reference):
        return {"blob": node.hash.hex()}
    if isinstance(node, ListReference):
        return {"list": node.list_id, "length": node.length}
    return _tree(codec, node.node)


def _tree(codec: Codec, node: Any) -> Any:
    """Return a tree of values with references as they are: what they refer to has a line of its own."""
    if isinstance(node, bytes):
        return _decoded(codec, node)
    if isinstance(node, Reference | ListReference | DeltaReference):
        return _referred(codec, node)
    if isinstance(node, list):
        return [_tree(codec, item) for item in cast("list[Any]", node)]
    if isinstance(node, dict):
        return {str(key): _tree(codec, item) for key, item in cast("dict[Any, Any]", node).items()}
    return node
