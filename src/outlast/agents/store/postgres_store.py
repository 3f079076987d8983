"""LangGraph's store on the database of the runs: `get_store()` in a graph, and /store over HTTP.

What a node writes is written at once, not with the step: a step that is executed again writes again. So put under a
key of your own choosing, not under a new one each time.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar, cast

import orjson
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    TTLConfig,
    validate_op_namespace,
)

from outlast.agents.loops import running_loop
from outlast.agents.project import Project
from outlast.agents.store.embedding import Embedder, Vector
from outlast.agents.store.filters import read_filter
from outlast.calls import scope
from outlast.errors import ConfigurationError, InvalidInput
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.items import (
    ItemQuery,
    ItemStore,
    ItemWrite,
    NamespaceQuery,
    Place,
    StoredItem,
)

T = TypeVar("T")

# Ten years: what lives longer lives for ever.
_LONGEST_TTL_MINUTES = 5_256_000.0


class PostgresStore(BaseStore):
    """A store for any number of threads and processes.

    Reads of a batch see what was there before the batch, and its writes are stored all or none. Its methods without `a`
    are for threads, such as sync nodes run in; on the event loop they raise ConfigurationError. A place or a value
    that cannot be stored is InvalidInput; a write of a run that is another worker's now, or was deleted, is LeaseLost.
    """

    supports_ttl = True

    def __init__(self, items: ItemStore, *, embedder: Embedder | None = None, ttl: TTLConfig | None = None) -> None:
        self._items = items
        self._embedder = embedder
        self._loop = asyncio.get_running_loop()
        # Looked up at the first search by meaning: (schema of pgvector or None,).
        self._vector_schema: tuple[str | None] | None = None
        self.ttl_config = ttl

    @classmethod
    def of_project(cls, items: ItemStore, project: Project) -> "PostgresStore":
        """Return the store that the project's `store` section describes."""
        section = project.sections.store
        embedder = None if section.index is None else Embedder(project, section.index)
        ttl = section.ttl
        if ttl is None:
            return cls(items, embedder=embedder)
        rules = TTLConfig(refresh_on_read=ttl.refresh_on_read, default_ttl=ttl.default_ttl, omit_expired=True)
        return cls(items, embedder=embedder, ttl=rules)

    @property
    def indexed(self) -> bool:
        """Whether items can be searched by meaning."""
        return self._embedder is not None

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute the operations; see the class."""
        call = self._batch(list(ops), _fence())
        if running_loop() is self._loop:
            return await call
        # A node may run a loop of its own.
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do the same from a thread."""
        return self._wait(self._batch(list(ops), _fence()))

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if running_loop() is self._loop:
            call.close()
            msg = "on the event loop use the store's async methods: aget, aput, asearch, adelete, alist_namespaces"
            raise ConfigurationError(msg)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    async def _batch(self, ops: Sequence[Op], fence: Fence | None) -> list[Result]:
        for op in ops:
            validate_op_namespace(op)
        found = await self._get([op for op in ops if isinstance(op, GetOp)])
        results: list[Result] = []
        for op in ops:
            if isinstance(op, GetOp):
                item = found.get(Place(op.namespace, op.key))
                results.append(None if item is None else _item(item))
            elif isinstance(op, SearchOp):
                results.append([_search_item(item) for item in await self._search(op)])
            elif isinstance(op, ListNamespacesOp):
                results.append(await self._items.namespaces(_namespace_query(op)))
            else:
                results.append(None)
        await self._put({Place(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}, fence)
        return results

    async def _get(self, ops: Sequence[GetOp]) -> dict[Place, StoredItem]:
        if not ops:
            return {}
        found = await self._items.get(list(dict.fromkeys(Place(op.namespace, op.key) for op in ops)))
        await self._refresh([place for op in ops if op.refresh_ttl and (place := Place(op.namespace, op.key)) in found])
        return found

    async def _search(self, op: SearchOp) -> list[StoredItem]:
        contains, conditions = read_filter(op.filter)
        # Without an index a query has no meaning here, and the filter alone counts, as in LangGraph's own stores.
        vector = await self._embedder.embed_query(op.query) if op.query and self._embedder is not None else None
        query = ItemQuery(
            prefix=op.namespace_prefix,
            contains=contains,
            conditions=conditions,
            vector=vector,
            limit=op.limit,
            offset=op.offset,
        )
        if vector is None:
            items = await self._items.search(query)
        else:
            items = await self._items.nearest(query, vector_schema=await self._schema_of_vector())
        if op.refresh_ttl:
            await self._refresh([item.place for item in items])
        return items

    async def _schema_of_vector(self) -> str | None:
        if self._vector_schema is None:
            self._vector_schema = (await self._items.find_vector(),)
        return self._vector_schema[0]

    async def _refresh(self, places: Sequence[Place]) -> None:
        if places:
            await self._items.refresh(places)

    async def _put(self, ops: dict[Place, PutOp], fence: Fence | None) -> None:
        if not ops:
            return
        values = {place: _encoded(op) for place, op in ops.items()}
        texts = {place: self._texts(op, values[place]) for place, op in ops.items()}
        vectors: dict[str, Vector] = {}
        if self._embedder is not None:
            # Before the transaction: a provider may take seconds.
            vectors = await self._embedder.embed_texts([text for found in texts.values() for text in found])
        await self._items.write(
            [
                ItemWrite(
                    place=place,
                    value=values[place],
                    ttl_minutes=op.ttl,
                    vectors=[vectors[text] for text in texts[place]],
                )
                for place, op in ops.items()
            ],
            fence=fence,
        )

    def _texts(self, op: PutOp, encoded: bytes | None) -> list[str]:
        if self._embedder is None or encoded is None or op.index is False:
            return []
        return self._embedder.texts_of(orjson.loads(encoded), op.index)


def _fence() -> Fence | None:
    """Return the attempt of a run that asks; None: nobody's node does."""
    run = scope.current.get()
    return None if run is None else Fence(run_id=run.run_id, epoch=run.epoch)


def _encoded(op: PutOp) -> bytes | None:
    if op.value is None:
        return None
    if op.ttl is not None and not 0 < op.ttl <= _LONGEST_TTL_MINUTES:
        msg = f"ttl is in minutes, more than 0 and at most {_LONGEST_TTL_MINUTES:,.0f}; leave it out to keep the item"
        raise InvalidInput(msg, field="ttl")
    try:
        return orjson.dumps(dict(op.value))
    except (TypeError, ValueError) as error:
        msg = f"the value of {op.key!r} is not JSON: {error}"
        raise InvalidInput(msg, field="value") from error


def _namespace_query(op: ListNamespacesOp) -> NamespaceQuery:
    conditions = op.match_conditions or ()
    return NamespaceQuery(
        prefixes=[cast("tuple[str, ...]", match.path) for match in conditions if match.match_type == "prefix"],
        suffixes=[cast("tuple[str, ...]", match.path) for match in conditions if match.match_type == "suffix"],
        depth=op.max_depth,
        limit=op.limit,
        offset=op.offset,
    )


def _item(item: StoredItem) -> Item:
    return Item(
        value=item.value,
        key=item.place.key,
        namespace=item.place.namespace,
        created_at=item.created_at,
        updated_at=item.updated_at,
    )


def _search_item(item: StoredItem) -> SearchItem:
    return SearchItem(
        item.place.namespace, item.place.key, item.value, item.created_at, item.updated_at, score=item.score
    )
