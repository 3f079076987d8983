"""Texts as vectors, by the embedding that `langgraph.json` names under `store.index`.

    "store": {"index": {"dims": 1536, "embed": "openai:text-embedding-3-small", "fields": ["$"]}}
    "store": {"index": {"dims": 384, "embed": "./embeddings.py:embed_texts"}}

`embed` is a file or a dotted module with a variable (a function of a list of texts, async or not, or LangChain's
`Embeddings`), or else `provider:model`, which needs the package `langchain` and the provider's own.
"""

import asyncio
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import hypot, isfinite
from typing import Any, Final, cast

from langchain_core.embeddings import Embeddings
from langgraph.store.base.embed import ensure_embeddings, get_text_at_path

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.agents.sections import StoreIndex
from outlast.errors import ConfigurationError, EmbeddingFailed, OutlastError

log = logging.getLogger(__name__)

_WHOLE: Final = ("$",)
Vector = list[float]


class Embedder:
    """Embeds texts. The project's code is imported at the first use, in a thread."""

    def __init__(self, project: Project, index: StoreIndex) -> None:
        self._project = project
        self._index = index
        self._loading = asyncio.Lock()
        self._embeddings: Embeddings | None = None

    def texts_of(self, value: Mapping[str, Any], paths: Sequence[str] | None) -> list[str]:
        """Return the texts of an item at these paths, or at the project's own; those without content are left out."""
        wanted = self._index.fields or _WHOLE if paths is None else paths
        return [text for path in wanted for text in get_text_at_path(value, path) if text.strip()]

    async def embed_texts(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Return a vector of unit length for each text.

        Raises EmbeddingFailed when the embedding raises, ConfigurationError when it is not what the project says.
        """
        different = list(dict.fromkeys(texts))
        if not different:
            return {}
        embeddings = await self._loaded()
        with _failing():
            vectors = await embeddings.aembed_documents(different)
        if len(vectors) != len(different):
            msg = f"store.index.embed returned {len(vectors)} vectors for {len(different)} texts"
            raise ConfigurationError(msg)
        return {text: self._unit(vector) for text, vector in zip(different, vectors, strict=True)}

    async def embed_query(self, text: str) -> Vector:
        """Return the vector of a question; raises as `embed_texts`."""
        embeddings = await self._loaded()
        with _failing():
            vector = await embeddings.aembed_query(text)
        return self._unit(vector)

    def _unit(self, vector: Sequence[float]) -> Vector:
        numbers = [float(number) for number in vector]
        if len(numbers) != self._index.dims or not all(map(isfinite, numbers)):
            wanted = f"store.index.dims promises {self._index.dims} finite ones"
            msg = f"store.index.embed returned {len(numbers)} numbers; {wanted}"
            raise ConfigurationError(msg)
        length = hypot(*numbers)
        return [number / length for number in numbers] if length else numbers

    async def _loaded(self) -> Embeddings:
        async with self._loading:
            if self._embeddings is None:
                self._embeddings = await asyncio.to_thread(self._load)
            return self._embeddings

    def _load(self) -> Embeddings:
        named = self._index.embed
        place, _, _ = named.rpartition(":")
        try:
            if place.endswith(".py") or "." in place:
                _, found = load_attribute(self._project, self._project.target("store.index.embed", named))
                return ensure_embeddings(cast("Any", found))
            return ensure_embeddings(named)
        except OutlastError:
            raise
        # A provider's package that is missing, a key that is not set, a variable that is no function.
        except Exception as error:
            msg = f"store.index.embed: {named!r} cannot be used: {error}"
            raise ConfigurationError(msg) from error


@contextmanager
def _failing() -> Generator[None]:
    """Turn whatever the project's embedding raises into EmbeddingFailed; the log has it whole."""
    try:
        yield
    # The embedding is the project's code, or a provider's.
    except Exception as error:
        log.exception("the embedding of store.index failed")
        raise EmbeddingFailed(type(error).__name__) from error
