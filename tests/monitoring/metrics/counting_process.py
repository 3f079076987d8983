"""A process that counts together with others: `python counting_process.py DIRECTORY TASKS`; it ends with its stdin."""

import sys
from pathlib import Path

from outlast.monitoring.metrics.directory import Membership
from outlast.monitoring.metrics.of_runs import LATENCY, TASKS
from outlast.monitoring.metrics.of_service import CONNECTIONS
from outlast.settings import count_in


def main(directory: Path, tasks: int) -> None:
    count_in(directory)
    membership = Membership.of(directory)

    from outlast.monitoring.metrics.meter import Meter

    meter = Meter([TASKS, LATENCY, CONNECTIONS], most=10)
    meter.labels.know(["shop"], most=10)
    for _ in range(tasks):
        meter.add(TASKS, "shop", "success")
        meter.observe(LATENCY, 0.2, "shop")
    meter.set(CONNECTIONS, tasks, "used")
    sys.stdout.write("counted\n")
    sys.stdout.flush()
    sys.stdin.read()
    membership.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
