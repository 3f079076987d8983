"""Breakers that all processes share."""

from dataclasses import replace
from typing import Any

from outlast.domain.circuit import Circuit, Tally
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("breakers")


class BreakerStore:
    """Reads and replaces circuits; times are the database's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def exchange(
        self, circuit: str, *, calls: int, failures: int, window: float
    ) -> tuple[Circuit, list[Tally], float]:
        """Add to the tallies; return the circuit, the tallies of the window with these, and what time it is."""
        parameters = {"circuit": circuit, "calls": calls, "failures": failures, "window": window}
        async with self._pool.connection() as connection:
            (row,) = await (await connection.execute(_SQL.exchange, parameters)).fetchall()
        now, *columns, counted = row
        return _circuit(columns), _with(counted, int(now), calls, failures), now

    async def swap(self, circuit: str, before: Circuit, after: Circuit, *, model: str) -> bool:
        """Replace the circuit, unless it is no longer what it was before."""
        parameters = {
            "circuit": circuit,
            "model": model,
            "before": before.version,
            "version": after.version,
            "openings": after.openings,
            "since": after.since,
            "probe_at": after.probe_at,
            "probe_by": after.probe_by,
            "probe_until": after.probe_until if after.probe_by is not None else None,
        }
        async with self._pool.connection() as connection:
            return await (await connection.execute(_SQL.swap, parameters)).fetchone() is not None


async def open_breakers(pool: Pool) -> dict[str, int]:
    """Count, for each model, the keys under which it is left alone."""
    return {model: alone for model, alone, _ in await breaker_states(pool)}


async def breaker_states(pool: Pool) -> list[tuple[str, int, int]]:
    """Return the models, under how many keys each is left alone, and 0 (calls pass), 1 (one tries) or 2 (alone)."""
    async with pool.connection() as connection:
        return await (await connection.execute(_SQL.states)).fetchall()


def _circuit(columns: list[Any]) -> Circuit:
    version, openings, since, probe_at, probe_by, probe_until = columns
    if version is None:
        return Circuit()
    return Circuit(
        version=version,
        openings=openings,
        since=since,
        probe_at=probe_at,
        probe_by=probe_by,
        probe_until=probe_until or 0.0,
    )


def _with(counted: list[list[int]], second: int, calls: int, failures: int) -> list[Tally]:
    tallies = {row[0]: Tally(second=row[0], calls=row[1], failures=row[2]) for row in counted}
    if calls:
        so_far = tallies.get(second, Tally(second=second, calls=0, failures=0))
        tallies[second] = replace(so_far, calls=so_far.calls + calls, failures=so_far.failures + failures)
    return list(tallies.values())
