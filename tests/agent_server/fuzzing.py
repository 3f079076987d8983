"""Fuzz the API against its own description: no answer may be a server error or undocumented.

Starts a PostgreSQL of its own, `outlast serve` and `outlast worker`, and lets schemathesis loose on them.

    python tests/agent_server/fuzzing.py [--examples 200] [--seed N] [--only REGEX]
"""

import argparse
import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Graphs that end by themselves.
AGENTS = ("agent", "steps", "ask", "ask_two", "broken", "see", "nested", "remember")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
#: These answers have no end; `tests/agent_server/test_fuzz.py` looks at how they begin.
ENDLESS = ("/threads/{thread_id}/stream", "/threads/{thread_id}/stream/events")
#: Behind this one nothing runs any more, and whoever waits for a run waits for ever; tests/cli and tests/server ask it.
STOPPING = ("/switches/tenant",)
_SEED_BYTES = 4


def command(url: str, *, examples: int, phases: str, seed: int, only: str | None = None) -> list[str]:
    """Return the call of schemathesis for a server that runs."""
    chosen = ["--include-path-regex", only] if only else []
    return [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--url", url),
        *("--checks", CHECKS, "--phases", phases, "--max-examples", str(examples), "--seed", str(seed)),
        *("--workers", "1", "--request-timeout", "60", "--continue-on-failure", "--generation-database", "none"),
        *("--suppress-health-check", "all", "--warnings", "off", *chosen),
        *(part for path in (*ENDLESS, *STOPPING) for part in ("--exclude-path", path)),
    ]


def environment(known: dict[str, list[str]]) -> dict[str, str]:
    """Return the environment of schemathesis: our hooks, and the ids of things that are there."""
    ids = ";".join(f"{kind}={','.join(values)}" for kind, values in known.items())
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "SCHEMATHESIS_HOOKS": "fuzzing_hooks", "OUTLAST_FUZZ_IDS": ids, "PYTHONPATH": path}


async def furnish(sdk: Any) -> dict[str, list[str]]:
    """Make some of everything, so that not every id leads to 404."""
    threads = [(await sdk.threads.create(graph_id="steps"))["thread_id"] for _ in range(3)]
    runs: list[str] = []
    for thread, agent in zip(threads, ("steps", "ask", "broken"), strict=True):
        runs.append((await sdk.runs.create(thread, agent, input={"log": []}))["run_id"])
    assistants = [(await sdk.assistants.create("steps"))["assistant_id"] for _ in range(2)]
    cron = await sdk.crons.create("steps", schedule="0 0 1 1 *", input={})
    return {"thread_id": threads, "run_id": runs, "assistant_id": assistants, "cron_id": [cron["cron_id"]]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200, help="per operation")
    parser.add_argument("--seed", type=int, default=int.from_bytes(secrets.token_bytes(_SEED_BYTES)))
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--only", help="paths that match this regular expression")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = _start(stack)
        known = asyncio.run(_furnished(url))
        call = command(
            url, examples=arguments.examples, phases=arguments.phases, seed=arguments.seed, only=arguments.only
        )
        return subprocess.run(call, env=environment(known), check=False).returncode


async def _furnished(url: str) -> dict[str, list[str]]:
    from langgraph_sdk import get_client

    async with get_client(url=url, api_key=None) as sdk:
        return await furnish(sdk)


def _start(stack: ExitStack) -> str:
    """Start everything; it ends with the stack."""
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    from agent_server_api import write_project

    from outlast.storage.postgres.embedded import EmbeddedPostgres

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outlast-fuzz-")))
    database = stack.enter_context(EmbeddedPostgres.start(folder / "postgres")).url
    (folder / "project").mkdir()
    write_project(folder / "project")
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    settings = {**os.environ, "DATABASE_URL": database, "PYTHONPATH": path}
    port = _free_port()

    def outlast(*words: str) -> list[str]:
        return [sys.executable, "-m", "outlast", *words]

    subprocess.run(outlast("db", "migrate"), cwd=folder / "project", env=settings, check=True)
    for words in (("serve", "--port", str(port)), ("worker",)):
        process = subprocess.Popen(outlast(*words), cwd=folder / "project", env=settings)
        stack.callback(_stop, process)
    url = f"http://127.0.0.1:{port}"
    _wait_for(url)
    return url


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str) -> None:
    import httpx

    from waiting import wait_until

    def healthy() -> bool:
        try:
            return httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(healthy, 60, f"{url} does not become healthy")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()


if __name__ == "__main__":
    sys.exit(main())
