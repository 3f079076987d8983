"""The HTTP clients of model SDKs: LangChain's integrations keep one for each address until 128 others came after it.

Each test's provider has an address of its own, so what they keep would be thrown away open, in the middle of some other
test.
"""

import sys
from contextlib import suppress
from functools import wraps
from typing import Any
from weakref import WeakSet

_CACHES = {
    "langchain_openai.chat_models._client_utils": ("_cached_sync_httpx_client", "_cached_async_httpx_client"),
    "langchain_anthropic._client_utils": ("_get_default_httpx_client", "_get_default_async_httpx_client"),
}
_open: WeakSet[Any] = WeakSet()


def remember_clients() -> None:
    """Know of every client that is made from here on."""
    for name in ("httpx", "httpx2"):
        with suppress(ImportError):
            library = __import__(name)
            for kind in (library.Client, library.AsyncClient):
                kind.__init__ = _remembering(kind.__init__)


def _remembering(begin: Any) -> Any:
    @wraps(begin)
    def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        _open.add(self)

    return remembering


async def forget_clients() -> None:
    """Close what the integrations keep, and let them make new ones."""
    kept = False
    for module, caches in _CACHES.items():
        if module in sys.modules:
            kept = True
            for cache in caches:
                getattr(sys.modules[module], cache).cache_clear()
    if not kept:
        return
    for client in list(_open):
        if client.is_closed:
            continue
        if hasattr(client, "aclose"):
            # Of a loop that has ended: there is nothing left to close.
            with suppress(RuntimeError):
                await client.aclose()
        else:
            client.close()
    _open.clear()
