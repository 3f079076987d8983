"""Run a misbehaving provider as a process: `python -m outlast.testing.providers --port 8099`."""

import argparse
import asyncio
import json
import signal
import sys

from outlast.testing.providers.control import Control
from outlast.testing.providers.server import ProviderServer

_ABOUT = """\
A provider of models for tests. It speaks OpenAI's and Anthropic's wire formats on a port of the loopback interface,
echoes what it is asked until it has a script, and fails on demand. Prints one line of JSON with openai_url,
anthropic_url and control_url. Requests are kept in memory.
"""
_ACTIONS = """\
POST to control_url with a JSON body:
  /script    {"replies": ["text", {"text": "...", "tool_calls": [{"name": "search", "arguments": {"query": "x"}}]}]}
  /when      {"reply": "...", "text": "regex", "tool": "name", "after_tool": true, "model": "...", "times": 1}
  /fail      {"fault": {"kind": "status", "status": 503}, "times": 3, "probability": 0.5, "seconds": 30}
             kinds: delay status close reset reset_midway cut_midway early_end error_midway garbage empty drip
             usage hold
             answers with the number of the incident
  /end       {"incident": 0}    /release {"incident": 0}    without a number: all
  /limit     {"requests": 60, "seconds": 60}
  /down /up /reset              refuse connections, listen again, forget everything
  /requests  {"after": 0}       what came in after that number, and what became of it
  /stats     {"seconds": 1}     counts, per window, the busiest window, answers given twice
"""


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m outlast.testing.providers",
        description=_ABOUT,
        epilog=_ACTIONS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="where models are asked (0: a free port)")
    parser.add_argument("--control-port", type=int, default=0, help="where it is told what to do (0: a free port)")
    parser.add_argument("--seed", type=int, default=0, help="decides faults with a probability")
    parser.add_argument("--lenient", action="store_true", help="take histories that a real provider refuses")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that started it")
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if options.until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), stopped.set)
    provider = ProviderServer(port=options.port, seed=options.seed, strict=not options.lenient)
    async with provider, Control(provider, port=options.control_port) as control:
        addresses = {
            "openai_url": provider.openai_url,
            "anthropic_url": provider.anthropic_url,
            "control_url": control.url,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    main()
