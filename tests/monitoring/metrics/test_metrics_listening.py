"""A worker's own /metrics."""

import asyncio
import urllib.error
import urllib.request

import pytest

from outlast.errors import ConfigurationError
from outlast.monitoring.metrics.exposition import CONTENT_TYPE
from outlast.monitoring.metrics.listening import listening


def got(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.headers["content-type"], response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", ""


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0"])
async def test_it_answers_and_has_nothing_else(address):
    with listening(address) as url:
        assert url is not None
        status, kind, text = await asyncio.to_thread(got, url)
        assert (status, kind) == (200, CONTENT_TYPE)
        assert "# TYPE process_cpu_seconds_total counter" in text
        assert "outlast_runs{" not in text, "what the database knows is shown by APIs alone"
        assert (await asyncio.to_thread(got, url.removesuffix("metrics")))[0] == 404
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(got, url)


def test_nothing_listens_where_no_address_is_set():
    with listening("") as url:
        assert url is None


def test_an_address_where_nobody_can_listen_is_named():
    for address in ("192.0.2.1:1", "127.0.0.1:99999", "[::bad::]:1"):
        with pytest.raises(ConfigurationError, match=r"metrics\.listen: nobody can listen on"), listening(address):
            pass
