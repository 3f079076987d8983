"""One frame of `outlast top`, as wide as the terminal is."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from outlast.storage.postgres.top import MINUTE, AgentFigures, Figures, Notice

_BARS: Final = "▁▂▃▄▅▆▇█"
_SEVERITIES: Final = {"critical": "bold red", "error": "bold red", "warning": "yellow", "info": "cyan"}
_MINUTE_SECONDS: Final = 60.0
_HOUR_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 86400.0
_THOUSAND: Final = 1000
_MOST_THOUSANDS: Final = 999_500
#: A worker says each second that it lives.
_SILENT_SECONDS: Final = 5.0
_MOST_WORKERS: Final = 8
#: As wide as a panel has to be, so that nothing of it is cut.
_PANEL_WIDTH: Final = 34


class _Beside:
    """Panels of the same width, as many beside one another as there is room for."""

    def __init__(self, panels: Sequence[Panel]) -> None:
        self._panels = panels

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay them out on the terminal as it is now."""
        fitting = max(1, min(len(self._panels), options.max_width // _PANEL_WIDTH))
        # Three in a row would leave one alone.
        in_a_row = 2 if fitting == len(self._panels) - 1 else fitting
        grid = Table.grid(expand=True)
        for _ in range(in_a_row):
            grid.add_column(ratio=1)
        for at in range(0, len(self._panels), in_a_row):
            grid.add_row(*self._panels[at : at + in_a_row])
        yield grid


def frame(figures: Figures, *, title: str, trouble: str | None = None) -> RenderableType:
    """Return what is shown; `trouble` says why it is not what happens now."""
    parts: list[RenderableType] = [Text(title, style="bold")]
    if trouble is not None:
        parts.append(Text(trouble, style="bold red"))
    parts.append(_Beside([_queue(figures), _ended(figures), _calls(figures), _people(figures)]))
    if figures.agents:
        parts.append(_agents(figures.agents, figures.running))
    parts.append(_workers(figures))
    parts += _notices(figures)
    return Group(*parts)


def _queue(figures: Figures) -> Panel:
    runs = figures.runs
    waits = runs.get("queued", 0)
    return _panel(
        "queue",
        ("queued", str(waits), "yellow" if waits else ""),
        ("oldest", age(figures.oldest_queued_seconds) if waits else "", ""),
        ("running", str(runs.get("running", 0)), "cyan"),
        ("waiting", str(runs.get("waiting", 0)), ""),
        ("later, blocked", f"{runs.get('later', 0)}, {runs.get('blocked', 0)}", ""),
    )


def _ended(figures: Figures) -> Panel:
    ended = figures.ended
    total = ended.good + ended.failed + ended.cancelled
    judged = ended.good + ended.failed
    return _panel(
        "runs, last minute",
        ("ended", f"{total} ({total / MINUTE:.1f}/s)", ""),
        ("failed", str(ended.failed), "red" if ended.failed else ""),
        ("error rate", f"{ended.failed / judged:.1%}" if judged else "", ""),
        ("cancelled", str(ended.cancelled), ""),
        ("", _sparkline(ended.by_second), "green"),
    )


def _calls(figures: Figures) -> Panel:
    calls = figures.calls
    return _panel(
        "models, last minute",
        ("calls", f"{calls.answered} ({calls.cached} cached)" if calls.cached else str(calls.answered), ""),
        ("failed", str(calls.failed), "red" if calls.failed else ""),
        ("tokens", f"{short(calls.input_tokens)} in, {short(calls.output_tokens)} out", ""),
        ("cost", f"${calls.cost_usd:.4f}", ""),
        ("in an hour", f"${calls.cost_usd * MINUTE:.2f} at this rate", ""),
    )


def _people(figures: Figures) -> Panel:
    questions = sum(figures.questions.values())
    alone = len(figures.left_alone)
    return _panel(
        "to be looked at",
        ("inbox", str(questions), "yellow" if questions else ""),
        ("oldest", age(figures.oldest_question_seconds) if questions else "", ""),
        ("dead letters", str(figures.dead_letters), "red" if figures.dead_letters else ""),
        ("alerts, anomalies", f"{figures.alerts_firing}, {figures.anomalies_open}",
         "red" if figures.alerts_firing else "yellow" if figures.anomalies_open else ""),
        ("models left alone", str(alone), "red" if alone else ""),
    )  # fmt: skip


def _agents(agents: Sequence[AgentFigures], running: Mapping[str, int]) -> Table:
    names = ("AGENT, 5 MIN", "RUNNING", "ENDED", "ERRORS", "P50", "P95", "FIRST BYTE P95", "TOKENS", "COST", "TOOLS")
    table = _table(*names)
    for row in agents:
        busy = sum(running.values()) if row.agent is None else running.get(row.agent, 0)
        table.add_row(
            Text("all", style="bold") if row.agent is None else _text(row.agent),
            str(busy), str(row.runs), Text(f"{row.errors / row.runs:.1%}", style="red" if row.errors else ""),
            span(row.p50_seconds), span(row.p95_seconds), span(row.first_byte_p95_seconds), short(row.tokens),
            f"${row.cost_usd:.4f}", f"{row.tool_calls} ({row.tool_errors} failed)" if row.tool_errors else
            str(row.tool_calls),
        )  # fmt: skip
    return table


def _workers(figures: Figures) -> RenderableType:
    workers = figures.workers
    slots, running = sum(worker.concurrency for worker in workers), sum(worker.running for worker in workers)
    if not workers:
        return Text("no worker lives: runs wait. outlast worker", style="bold red")
    table = _table(
        f"{len(workers)} WORKERS, {running} OF {slots} PLACES TAKEN", "PID", "RUNS", "STATE", "LAST HEARD OF"
    )
    for worker in sorted(workers, key=lambda found: -found.age_seconds)[:_MOST_WORKERS]:
        silent = worker.age_seconds > _SILENT_SECONDS
        table.add_row(
            _text(worker.host), str(worker.pid), f"{worker.running}/{worker.concurrency}", worker.state,
            Text(f"{age(worker.age_seconds)} ago", style="red" if silent else ""),
        )  # fmt: skip
    return table


def _notices(figures: Figures) -> Iterable[RenderableType]:
    for what, count, notices in (
        ("ALERTS FIRING", figures.alerts_firing, figures.alerts),
        ("ANOMALIES", figures.anomalies_open, figures.anomalies),
    ):
        if notices:
            yield _of_notices(f"{count} {what}", notices)


def _of_notices(title: str, notices: Sequence[Notice]) -> Table:
    table = _table(title, "OF", "FOR", "")
    for notice in notices:
        name = _text(notice.name)
        name.stylize(_SEVERITIES.get(notice.severity, ""))
        table.add_row(name, _text(notice.subject), age(notice.seconds), _text(notice.text))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _panel(title: str, *lines: tuple[str, str, str]) -> Panel:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for name, value, style in lines:
        grid.add_row(name, Text(value, style=style))
    return Panel(grid, title=title, title_align="left")


def _sparkline(values: Sequence[int]) -> str:
    """Draw the last minute in steps of five seconds."""
    steps = [sum(values[at : at + 5]) for at in range(0, len(values), 5)]
    highest = max(steps)
    if not highest:
        return ""
    return "".join(_BARS[round(step / highest * (len(_BARS) - 1))] for step in steps)


def _text(given: str) -> Text:
    """Agents and hosts may be called anything; nothing of it commands the terminal."""
    return Text("".join(char if char.isprintable() else "�" for char in given))


def age(seconds: float) -> str:
    """Return it as people say it, in its largest unit."""
    for unit, length in (("d", _DAY_SECONDS), ("h", _HOUR_SECONDS), ("m", _MINUTE_SECONDS)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def span(seconds: float | None) -> str:
    """Return a duration that is short as a rule."""
    if seconds is None:
        return ""
    return f"{seconds * _THOUSAND:.0f}ms" if seconds < 1 else f"{seconds:.1f}s"


def short(count: int) -> str:
    """Return a large number in thousands or millions."""
    if count < _THOUSAND:
        return str(count)
    # 999,500 would be 1e+03 thousand.
    return f"{count / _THOUSAND:.3g}k" if count < _MOST_THOUSANDS else f"{count / _THOUSAND**2:.3g}M"
