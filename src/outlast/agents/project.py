"""The project file: which agents there are and where they live. Imports nothing of the user's.

A project is described by `langgraph.json`, by `outlast.toml`, or by both in one directory:

    {"dependencies": ["."], "graphs": {"documents": "./agent.py:documents"}, "env": ".env"}

    [agents]
    documents = "./agent.py:documents"
    [agents.report]
    graph = "my_app.graphs:report"
    description = "Writes the weekly report"
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from outlast.agents.sections import Sections, read_sections
from outlast.errors import AgentLoadError

LANGGRAPH_FILE: Final = "langgraph.json"
OUTLAST_FILE: Final = "outlast.toml"

_EXAMPLE: Final = """\
    # outlast.toml
    [agents]
    my_agent = "./agent.py:graph"
"""
# What to write where something else than a table is.
_TABLES: Final = {
    "the file": '{"graphs": {"my_agent": "./agent.py:graph"}}',
    "graphs": '"graphs": {"my_agent": "./agent.py:graph"}',
    "agents": 'a line [agents] and below it my_agent = "./agent.py:graph"',
    "env": '"env": {"NAME": "value"}, or "env": ".env" for a file',
}
_AGENT_TABLE: Final = '"./agent.py:graph"; a table has that in `graph` ("path" in langgraph.json), and a `description`'
# Spaces and dots are allowed because published LangGraph projects use them ("Deep Researcher");
# slashes, colons and quotes are not: the name is part of URLs and of `file.py:name` strings.
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]{0,98}[A-Za-z0-9_-])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One entry of the project file; nothing of it was imported yet.

    Exactly one of `path` (an absolute file) and `module` (a dotted name) is set.
    """

    name: str
    path: Path | None
    module: str | None
    attribute: str
    description: str = ""


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What the project file says. `env` is read, never applied to this process.

    `file` is None for a project that was put together in code; with both files it is `outlast.toml`.
    """

    root: Path
    file: Path | None = None
    agents: Mapping[str, AgentSpec] = field(default_factory=_nothing)
    env: Mapping[str, str] = field(default_factory=_nothing)
    dependencies: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=_nothing)
    sections: Sections = field(default_factory=Sections)

    def target(self, section: str, text: str) -> AgentSpec:
        """Return what `./file.py:name` or `module:name` in a section names; raises AgentLoadError if it is neither."""
        where = f"{self.file or self.root}: {section}"
        return _target(where, self.root, section, text, "", what="an object")

    def declared_at(self, name: str) -> str:
        """Where the agent is declared, as `file:line` when the line can be found."""
        key = re.escape(name)
        patterns = {
            LANGGRAPH_FILE: rf'"{key}"\s*:',
            OUTLAST_FILE: rf'^\s*(?:\[\s*agents\s*\.\s*"?{key}"?\s*\]|"?{key}"?\s*[=.])',
        }
        for file in (self.root / LANGGRAPH_FILE, self.root / OUTLAST_FILE):
            if self.file is not None and file.is_file():
                line = _line_matching(file, patterns[file.name])
                if line is not None:
                    return f"{file}:{line}"
        return str(self.file or self.root)


def find_project(start: Path) -> Project:
    """Read the project of `start`: the nearest directory upwards that has a project file.

    The search ends after a directory with `.git` (the repository's top), else at the root of the
    file system, so any command works in a subdirectory of the project. With both files in one
    directory, the agents of `outlast.toml` are added to those of `langgraph.json`; a name in both
    is an error. Raises AgentLoadError when there is no file or it is wrong.
    """
    start = start.resolve()
    for directory in (start, *start.parents):
        files = [f for f in (directory / LANGGRAPH_FILE, directory / OUTLAST_FILE) if f.is_file()]
        if files:
            return _merged([load_project(file) for file in files])
        if (directory / ".git").exists():
            break
    raise AgentLoadError(
        f"there is no {OUTLAST_FILE} or {LANGGRAPH_FILE} in {start} or above it. "
        f"Change to the project's directory, or create one, for example:\n{_EXAMPLE}"
    )


def load_project(file: Path) -> Project:
    """Read exactly this file: as `langgraph.json` when it ends in .json, else as `outlast.toml`."""
    file = file.resolve()
    if not file.is_file():
        raise AgentLoadError(f"there is no project file {file}. Correct the path, or create it:\n{_EXAMPLE}")
    text = file.read_text(encoding="utf-8")
    return _from_json(file, text) if file.suffix == ".json" else _from_toml(file, text)


def nearest(wrong: str, known: Iterable[str]) -> str:
    """Return a ` (did you mean 'x'?)` to append to a message, or nothing."""
    matches = get_close_matches(wrong, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def _merged(projects: list[Project]) -> Project:
    first, last = projects[0], projects[-1]
    if first is last:
        return first
    both = sorted(first.agents.keys() & last.agents.keys())
    if both:
        raise AgentLoadError(
            f"agent {both[0]!r} is declared twice: in {first.declared_at(both[0])} and in {OUTLAST_FILE}. "
            "Remove one of the two, or rename it."
        )
    return replace(first, file=last.file, agents={**first.agents, **last.agents}, settings=last.settings)


def _from_json(file: Path, text: str) -> Project:
    try:
        content: object = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        raise AgentLoadError(
            f"{file}:{error.lineno}:{error.colno}: this is not valid JSON: {error.msg}. Correct that line."
        ) from error
    except _DuplicateKeyError as error:
        raise AgentLoadError(f"{file}: the key {error.args[0]!r} occurs twice in one object. Remove one.") from error
    table = _table(content, file, "the file")
    if "graphs" not in table:
        raise AgentLoadError(
            f'{file}: the key "graphs" is missing{nearest("graphs", table)}. Add for example: '
            '"graphs": {"my_agent": "./agent.py:graph"}'
        )
    graphs = _table(table["graphs"], file, "graphs")
    project = Project(
        root=file.parent,
        file=file,
        agents={name: _spec(file, name, entry, target_key="path") for name, entry in graphs.items()},
        env=_env(file, table.get("env", {})),
        dependencies=_dependencies(file, table.get("dependencies", [])),
        sections=read_sections(file, table),
    )
    # Said now, and not when the server starts.
    if project.sections.auth is not None:
        project.target("auth.path", project.sections.auth.path)
    if project.sections.http.app is not None:
        project.target("http.app", project.sections.http.app)
    return project


def _from_toml(file: Path, text: str) -> Project:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # tomllib ends its message with "(at line 3, column 7)".
        raise AgentLoadError(f"{file}: this is not valid TOML: {error}. Correct that line.") from error
    agents = _table(table.pop("agents", {}), file, "agents")
    return Project(
        root=file.parent,
        file=file,
        agents={name: _spec(file, name, entry, target_key="graph") for name, entry in agents.items()},
        settings=table,
    )


def _spec(file: Path, name: str, entry: object, *, target_key: str) -> AgentSpec:
    where = f"{file}: agent {name!r}"
    if not _NAME.fullmatch(name):
        raise AgentLoadError(
            f"{where}: this name cannot be used. A name has at most 100 letters (a-z, A-Z), digits, '_', '-', '.' "
            "and spaces, and no space or dot at either end."
        )
    fields = {target_key: entry} if isinstance(entry, str) else _table(entry, file, f"agent {name!r}")
    for key in fields:
        if key not in (target_key, "description"):
            raise AgentLoadError(
                f"{where}: unknown key {key!r}{nearest(key, (target_key, 'description'))}. "
                f"The keys of an agent are {target_key!r} and 'description'."
            )
    target, description = fields.get(target_key), fields.get("description", "")
    if not isinstance(target, str):
        raise AgentLoadError(f'{where}: {target_key!r} is missing or no text. Write {target_key} = "./agent.py:graph".')
    if not isinstance(description, str):
        raise AgentLoadError(f"{where}: the description is no text. Put it in quotes.")
    return _target(where, file.parent, name, target, description)


def _target(where: str, root: Path, name: str, target: str, description: str, *, what: str = "a graph") -> AgentSpec:
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute.isidentifier():
        raise AgentLoadError(
            f"{where}: {target!r} does not name {what}. Write the file or module, a colon, and the variable: "
            f"'./agent.py:graph' or 'my_app.agent:graph'."
        )
    if place.endswith(".py"):
        path, module = (root / place).resolve(), None
    elif all(part.isidentifier() for part in place.split(".")):
        path, module = None, place
    else:
        raise AgentLoadError(
            f"{where}: {place!r} is neither a Python file (it would end in '.py') nor a dotted module name. "
            "Write './agent.py:graph' or 'my_app.agent:graph'."
        )
    return AgentSpec(name=name, path=path, module=module, attribute=attribute, description=description)


def _env(file: Path, value: object) -> Mapping[str, str]:
    if isinstance(value, str):
        return _env_file(file.parent / value)
    env = _table(value, file, "env")
    for key, item in env.items():
        if not isinstance(item, str):
            raise AgentLoadError(f"{file}: env: the value of {key!r} is no text. Put it in quotes.")
    return cast("dict[str, str]", env)


def _env_file(file: Path) -> Mapping[str, str]:
    # A .env file is seldom committed or shipped; where it is missing, the variables come from outside.
    if not file.is_file():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - most projects never need it

    # Not interpolated: ${VAR} would read this process's environment, which only settings.py may.
    return {k: v for k, v in dotenv_values(file, interpolate=False).items() if v is not None}


def _dependencies(file: Path, value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) for item in items):
        raise AgentLoadError(f'{file}: "dependencies" is no list of texts. Write for example ["."].')
    return tuple(cast("list[str]", items))


def _table(value: object, file: Path, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise AgentLoadError(
            f"{file}: {what} holds {type(value).__name__}, where a table of names is expected. "
            f"Write {_TABLES.get(what, _AGENT_TABLE)}."
        )
    return cast("dict[str, object]", value)


class _DuplicateKeyError(Exception):
    """JSON's own rule, that the last one wins, would lose an agent without a word."""


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table: dict[str, object] = {}
    for key, value in pairs:
        if key in table:
            raise _DuplicateKeyError(key)
        table[key] = value
    return table


def _line_matching(file: Path, pattern: str) -> int | None:
    lines = file.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if re.search(pattern, line)), None)
