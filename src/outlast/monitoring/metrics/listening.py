"""A worker's own /metrics: it has no API, and must not load one.

It answers from a thread, so that a worker whose loop hangs still says so. It asks nobody who they are: listen on the
loopback, or where only Prometheus gets.
"""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from outlast.errors import ConfigurationError
from outlast.monitoring.metrics import exposition

_PATIENCE: Final = 10.0


@contextmanager
def listening(address: str) -> Generator[str | None]:
    """Serve /metrics at the address to the end of the block, and yield its URL; nothing where it is empty.

    Raises ConfigurationError when nobody can listen there.
    """
    if not address:
        yield None
        return
    server = _opened(address)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="outlast-metrics")
    thread.start()
    try:
        host, port = server.server_address[:2]
        shown = f"[{host}]" if ":" in str(host) else str(host)
        yield f"http://{shown}:{port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _opened(address: str) -> "_Server":
    host, _, port = address.rpartition(":")
    try:
        return _Server(host.strip("[]"), int(port))
    except (OSError, OverflowError) as error:
        msg = f"metrics.listen: nobody can listen on {address} ({error}); name another address, or a free port"
        raise ConfigurationError(msg) from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A scrape in progress must not hold up a worker that stops.
    block_on_close = False

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Answer)


class _Answer(BaseHTTPRequestHandler):
    timeout = _PATIENCE
    server_version = "outlast"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, explain="There is /metrics.")
            return
        body = exposition.text()
        self.send_response(200)
        self.send_header("Content-Type", exposition.CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the names are http.server's
        """Scrapes are no news."""
