"""The store's items in the database: what agents and clients keep beyond a thread."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from outlast.errors import InvalidInput, LeaseLost
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.item_matching import meets
from outlast.storage.postgres.jsonb import encoded_jsonb, jsonb
from outlast.storage.postgres.listing import fetch
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries, numbered
from outlast.storage.postgres.sealed_columns import ITEM

_SQL = Queries("items")
# Together they fit into one entry of a B-tree, which has room for 2,704 bytes.
_LONGEST_PATH_BYTES: Final = 1500
_LONGEST_KEY_BYTES: Final = 1000
_MOST_ROWS: Final = 2**31
# Looked through at once, where the database cannot look into items.
_SIFTED: Final = 200
# Of our advisory locks; that of workers is another one.
_LOCK_CLASS: Final = 0x6F757473
#: A wildcard of `namespaces`: any one label.
ANY: Final = "*"

Namespace = tuple[str, ...]


class Place(NamedTuple):
    """Where an item is."""

    namespace: Namespace
    key: str


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as it is; `score` is the cosine, where it was found by meaning."""

    place: Place
    value: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWrite:
    """What becomes of the item at a place: a value, which is JSON, or None to delete it. Vectors are of unit length."""

    place: Place
    value: bytes | None
    ttl_minutes: float | None = None
    vectors: Sequence[Sequence[float]] = ()


class Condition(NamedTuple):
    """One comparison: `operator` is one of $eq, $ne, $gt, $gte, $lt, $lte."""

    path: tuple[str, ...]
    operator: str
    operand: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemQuery:
    """Which items are wanted; with a vector the nearest ones first, else the ones that changed last."""

    prefix: Namespace = ()
    #: What the value has to contain, in the sense of jsonb's `@>`.
    contains: Mapping[str, Any] | None = None
    conditions: Sequence[Condition] = ()
    vector: Sequence[float] | None = None
    limit: int = 10
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceQuery:
    """Which namespaces are wanted; ANY stands for any one label of a prefix or suffix."""

    prefixes: Sequence[Namespace] = ()
    suffixes: Sequence[Namespace] = ()
    #: Deeper ones are cut to so many labels, and shown once.
    depth: int | None = None
    limit: int = 100
    offset: int = 0


class ItemStore:
    """The tables of the store. Raises InvalidInput for a place or a value that cannot be stored."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, places: Sequence[Place]) -> dict[Place, StoredItem]:
        """Return the items that are there."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.get, _places(places))
            rows = await cursor.fetchall()
        return {item.place: item for item in await self._opened(rows)}

    async def refresh(self, places: Sequence[Place]) -> None:
        """Begin the lives of these items anew, as far as they end at all."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.refresh, _places(places))

    async def search(self, query: ItemQuery) -> list[StoredItem]:
        """Return the items under a namespace that meet the conditions."""
        if self._pool.sealing.on and _flags(query):
            return await self._sift(query, self._search)
        return await self._search(query)

    async def _search(self, query: ItemQuery) -> list[StoredItem]:
        async with self._pool.connection() as connection:
            rows = await fetch(connection, numbered("items", "search", *_flags(query)), _query_parameters(query))
        return await self._opened(rows)

    async def nearest(self, query: ItemQuery, *, vector_schema: str | None) -> list[StoredItem]:
        """Return the items whose meaning is nearest to the query's vector; `vector_schema`: see `find_vector`."""
        if self._pool.sealing.on and _flags(query):
            return await self._sift(query, lambda page: self.nearest(page, vector_schema=vector_schema))
        flags = _flags(query) if vector_schema is None else [*_flags(query), "pgvector"]
        async with self._pool.transaction() as connection:
            if vector_schema is not None:
                await connection.execute(_SQL.see_vectors, {"schema": vector_schema})
            rows = await fetch(connection, numbered("items", "nearest", *flags), _query_parameters(query))
        return await self._opened(rows)

    async def _sift(
        self, query: ItemQuery, find: Callable[[ItemQuery], Awaitable[list[StoredItem]]]
    ) -> list[StoredItem]:  # fmt: skip
        """Look through all items under the namespace, a page at a time: the database cannot read what is encrypted."""
        _page(query)
        met: list[StoredItem] = []
        page = replace(query, contains=None, conditions=(), limit=_SIFTED, offset=0)
        while len(met) < query.offset + query.limit:
            items = await find(page)
            met += [item for item in items if meets(item.value, query.contains, query.conditions)]
            if len(items) < _SIFTED:
                break
            page = replace(page, offset=page.offset + _SIFTED)
        return met[query.offset : query.offset + query.limit]

    async def _opened(self, rows: Sequence[tuple[Any, ...]]) -> list[StoredItem]:
        sealing = self._pool.sealing
        if not sealing.on:
            return [_item(row) for row in rows]
        return [_item((*row[:2], await sealing.open_json(ITEM, row[2], row[0], row[1]), *row[3:])) for row in rows]

    async def find_vector(self) -> str | None:
        """Return the schema of pgvector, installing it where the server has it; None where it has not."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.vector_schema)
            return cast("tuple[str | None]", await cursor.fetchone())[0]

    async def namespaces(self, query: NamespaceQuery) -> list[Namespace]:
        """Return the namespaces that hold an item, in order."""
        first, below = _range(_certain(query.prefixes))
        parameters = {
            "from": first,
            "below": below,
            "patterns": [*map(_prefix_pattern, query.prefixes), *map(_suffix_pattern, query.suffixes)],
            "depth": query.depth if query.depth is not None else 2**31 - 1,
            **_page(query),
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.namespaces, parameters)
            return [_namespace(row[0]) for row in await cursor.fetchall()]

    async def write(self, writes: Sequence[ItemWrite], *, fence: Fence | None = None) -> None:
        """Put and delete, all or nothing; each place once.

        With a fence, raises LeaseLost when the run is not, or no longer, running under that epoch.
        """
        puts = [write for write in writes if write.value is not None]
        if any(not put.place.namespace for put in puts):
            msg = "an item needs a namespace of one label at least"
            raise InvalidInput(msg, field="namespace")
        values = [await self._sealed(put) for put in puts]
        every, gone = _places([w.place for w in writes]), _places([w.place for w in writes if w.value is None])
        kept = _places([write.place for write in puts])
        ttls = [write.ttl_minutes for write in puts]
        async with self._pool.pipelined() as connection:
            if fence is not None:
                await _hold(connection, fence)
            if len(writes) > 1:
                await connection.execute(_SQL.lock, {**every, "class_id": _LOCK_CLASS})
            if gone["paths"]:
                await connection.execute(_SQL.delete, gone)
            if puts:
                await connection.execute(_SQL.put, {**kept, "values": values, "ttls": ttls})
                await connection.execute(_SQL.forget_vectors, kept)
                await _put_vectors(connection, puts)

    async def _sealed(self, put: ItemWrite) -> Jsonb:
        value, sealing = put.value or b"{}", self._pool.sealing
        if not sealing.on or value == b"{}":
            return encoded_jsonb(value)
        return jsonb(await sealing.seal_text(ITEM, value.decode(), path_of(put.place.namespace), put.place.key))


async def _hold(connection: AsyncConnection[Any], fence: Fence) -> None:
    """Keep the run where it is until the transaction ends."""
    cursor = await connection.execute(_SQL.hold_run, fence._asdict())
    if await cursor.fetchone() is None:
        raise LeaseLost(run_id=str(fence.run_id), epoch=fence.epoch)


async def _put_vectors(connection: AsyncConnection[Any], puts: Sequence[ItemWrite]) -> None:
    rows = [
        {"path": path_of(put.place.namespace), "key": put.place.key, "part": part, "embedding": list(vector)}
        for put in puts
        for part, vector in enumerate(put.vectors)
    ]
    if rows:
        async with connection.cursor() as cursor:
            await cursor.executemany(_SQL.put_vector, rows)


def path_of(namespace: Namespace) -> str:
    """Return a namespace as text, such that a prefix of labels is a prefix of text; raises InvalidInput."""
    for label in namespace:
        if not label or "." in label:
            msg = f"the label {label!r} is empty or holds a dot; a namespace is a list of labels without dots"
            raise InvalidInput(msg, field="namespace")
    path = "".join([".", *(f"{label}." for label in namespace)])
    _check_text(path, field="namespace", longest=_LONGEST_PATH_BYTES)
    return path


def _check_text(text: str, *, field: str, longest: int) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        msg = f"the {field} holds half of a surrogate pair, which is no text"
        raise InvalidInput(msg, field=field) from error
    if size > longest or "\0" in text:
        msg = f"the {field} has more than {longest:,} bytes, or holds NUL"
        raise InvalidInput(msg, field=field)


def _places(places: Sequence[Place]) -> dict[str, list[Any]]:
    for place in places:
        _check_text(place.key, field="key", longest=_LONGEST_KEY_BYTES)
    return {"paths": [path_of(place.namespace) for place in places], "keys": [place.key for place in places]}


def _range(namespace: Namespace) -> tuple[str, str]:
    """Return the bounds of what lies at or under a namespace; '/' comes right after the dot."""
    path = path_of(namespace)
    return path, f"{path[:-1]}/"


def _certain(prefixes: Sequence[Namespace]) -> Namespace:
    """Return the labels that every wanted namespace begins with."""
    if not prefixes:
        return ()
    prefix = prefixes[0]
    return prefix[: prefix.index(ANY)] if ANY in prefix else prefix


def _prefix_pattern(labels: Namespace) -> str:
    return "^" + _pattern(labels)


def _suffix_pattern(labels: Namespace) -> str:
    return _pattern(labels) + "$"


def _pattern(labels: Namespace) -> str:
    # What re.escape writes, PostgreSQL reads alike: a backslash before a character that is no letter and no digit.
    return r"\." + "".join((r"[^.]+" if label == ANY else re.escape(label)) + r"\." for label in labels)


def _flags(query: ItemQuery) -> list[str]:
    return [name for name in ("conditions", "contains") if getattr(query, name)]


def _query_parameters(query: ItemQuery) -> dict[str, Any]:
    first, below = _range(query.prefix)
    return {
        "from": first,
        "below": below,
        "contains": jsonb(dict(query.contains or {})),
        "conditions": jsonb([condition._asdict() for condition in query.conditions]),
        "vector": None if query.vector is None else list(query.vector),
        **_page(query),
    }


def _page(query: ItemQuery | NamespaceQuery) -> dict[str, int]:
    page = {"limit": query.limit, "offset": query.offset}
    for field, number in page.items():
        if not 0 <= number < _MOST_ROWS:
            msg = f"{field} is {number}; it is a number from 0 to {_MOST_ROWS - 1:,}"
            raise InvalidInput(msg, field=field)
    return page


def _namespace(path: str) -> Namespace:
    return tuple(path[1:-1].split("."))


def _item(row: tuple[Any, ...]) -> StoredItem:
    return StoredItem(Place(_namespace(row[0]), row[1]), row[2], row[3], row[4], row[5])
