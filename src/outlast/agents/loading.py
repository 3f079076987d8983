"""Import the file or module of an agent, under a name that is the same in every process.

Stored state names its types by module, so a worker that restores it must find the same module
under the same name. A file therefore gets the dotted name it has on `sys.path` - the one the
project's own `import` statements use, so that no class exists twice - and only a file that has
none (`my-agent.py`) gets a made-up one, derived from its path relative to the project.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

from outlast.agents.project import AgentSpec, Project, nearest
from outlast.errors import AgentLoadError

_MADE_UP: Final = "outlast_agent_"


def load_attribute(project: Project, spec: AgentSpec) -> tuple[ModuleType, object]:
    """Import the agent's module and return it with the object that the project file names.

    The project's root and those of its dependencies that are directories are on `sys.path`
    afterwards, behind what is installed. Raises AgentLoadError for everything that goes wrong;
    the user's own exception is its cause.
    """
    add_to_path(project)
    module = import_agent(project, spec)
    try:
        return module, getattr(module, spec.attribute)
    except AttributeError as error:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise AgentLoadError(
            f"{describe(project, spec)}: {_place(spec)} has no {spec.attribute!r}{nearest(spec.attribute, names)}. "
            f"{graphs_in(module)} Correct the name after the colon."
        ) from error


def import_agent(project: Project, spec: AgentSpec) -> ModuleType:
    """Import the agent's module, or return it when it was imported already."""
    if spec.path is not None and not spec.path.is_file():
        raise AgentLoadError(_missing_file(project, spec, spec.path))
    try:
        if spec.path is None:
            return importlib.import_module(spec.module or "")
        name = module_name(project, spec.path)
        return _import_file(name, spec.path) if name.startswith(_MADE_UP) else importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AgentLoadError(_missing_module(project, spec, error)) from error
    # A script without an `if __name__ == "__main__"` may well call sys.exit().
    except (Exception, SystemExit) as error:
        raise AgentLoadError(
            f"{describe(project, spec)}: importing {_place(spec)} failed with\n"
            f"{user_error(project, error)}\nCorrect that line."
        ) from error


def add_to_path(project: Project) -> None:
    """Put the project's directories on `sys.path`, each once.

    At the end, as `langgraph dev` does: a file of the project never hides an installed package.
    """
    present = {_resolved(entry) for entry in sys.path if entry}
    for directory in _project_dirs(project):
        if directory not in present:
            sys.path.append(str(directory))


def module_name(project: Project, file: Path) -> str:
    """Return the module name of a file of the project; it does not depend on where Python was started.

    The dotted name from the nearest directory on `sys.path` that does not lie inside the file's
    own package, if importing that name yields this file; else a made-up one.
    """
    package_top = file.parent
    while (package_top / "__init__.py").is_file():
        package_top = package_top.parent
    importable = _importable_dirs(project)
    for directory in (package_top, *package_top.parents):
        parts = file.relative_to(directory).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if directory in importable and _leads_to(parts, directory):
            return ".".join(parts)
    relative = Path(os.path.relpath(file, project.root)).as_posix()
    digest = hashlib.sha256(relative.encode()).hexdigest()[:8]
    return f"{_MADE_UP}{re.sub(r'[^A-Za-z0-9]+', '_', relative.removesuffix('.py')).strip('_')}_{digest}"


def describe(project: Project, spec: AgentSpec) -> str:
    """How every message about an agent begins."""
    return f"{project.declared_at(spec.name)}: agent {spec.name!r}"


def user_error(project: Project, error: BaseException) -> str:
    """Describe the user's exception and the last line of the project's own code that it went through."""
    summary = "".join(traceback.format_exception_only(error)).rstrip()
    # format_exception_only names file and line of a syntax error itself.
    if not isinstance(error, SyntaxError):
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if _is_own_code(project, Path(f.filename))]
        if own:
            summary += f'\n  File "{own[-1].filename}", line {own[-1].lineno}\n    {own[-1].line}'
    return "\n".join(f"    {line}" for line in summary.splitlines())


def graphs_in(module: ModuleType) -> str:
    """List in a sentence what in the module could be an agent."""
    # Compared by class name: a module without a graph may not even have imported LangGraph.
    kinds = {"Pregel", "StateGraph"}
    graphs = [name for name, value in vars(module).items() if kinds & {c.__name__ for c in type(value).__mro__}]
    functions = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and not isinstance(value, type)
    ]
    found = [f"graphs: {', '.join(graphs)}"] if graphs else []
    found += (
        [f"functions: {', '.join(f for f in functions if f not in graphs)}"] if set(functions) - set(graphs) else []
    )
    return f"It has {'; '.join(found)}." if found else "It has no graph and no function."


def _import_file(name: str, file: Path) -> ModuleType:
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file):
        return loaded
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python cannot import {file}", path=str(file))
    module = importlib.util.module_from_spec(spec)
    # Registered before it runs, as import itself does: dataclasses look up their module meanwhile.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    # As import itself: whatever ended it, half a module must not stay.
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _project_dirs(project: Project) -> list[Path]:
    local = [(project.root / dependency).resolve() for dependency in project.dependencies]
    return list(dict.fromkeys([project.root.resolve(), *(d for d in local if d.is_dir())]))


def _importable_dirs(project: Project) -> set[Path]:
    # sys.path[0] is the directory Python or its script was started in: not the same in every process.
    stable = sys.path if sys.flags.safe_path else sys.path[1:]
    return {_resolved(entry) for entry in stable if entry} | set(_project_dirs(project))


def _leads_to(parts: tuple[str, ...], directory: Path) -> bool:
    """Whether `import a.b` takes `a` from this directory, and not from another one that comes first."""
    if not parts or not all(part.isidentifier() for part in parts):
        return False
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        return False
    first = directory / parts[0]
    expected = {first, first.with_suffix(".py"), first / "__init__.py"}
    return spec is not None and any(_resolved(place) in expected for place in _places(spec))


def _places(spec: ModuleSpec) -> Iterable[str]:
    return [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else [])]


def _resolved(entry: str) -> Path:
    return Path(entry).resolve()


def _is_own_code(project: Project, file: Path) -> bool:
    # A virtual environment often lies inside the project.
    return file.is_relative_to(project.root) and "site-packages" not in file.parts


def _place(spec: AgentSpec) -> str:
    return str(spec.path) if spec.path is not None else f"module {spec.module!r}"


def _missing_file(project: Project, spec: AgentSpec, file: Path) -> str:
    directory = next(parent for parent in file.parents if parent.is_dir())
    there = sorted(p.name for p in directory.iterdir() if p.suffix == ".py" or (p.is_dir() and p.name[0] not in "._"))
    listing = f"{directory} has {', '.join(there[:20])}" if there else f"{directory} has no Python files"
    return (
        f"{describe(project, spec)}: there is no file {file}{nearest(file.name, there)}. {listing}. "
        "Correct the path; it is relative to the project file."
    )


def _missing_module(project: Project, spec: AgentSpec, error: ModuleNotFoundError) -> str:
    name = error.name or ""
    own = f'If it is yours, add its directory to "dependencies" in langgraph.json (now on the path: {project.root}'
    others = [str(d) for d in _project_dirs(project)[1:]]
    return (
        f"{describe(project, spec)}: {_place(spec)} needs the module {name!r}, which cannot be found:\n"
        f"{user_error(project, error)}\n"
        f"If it is a package, install it where Outlast runs: pip install {name.partition('.')[0]}. "
        f"{own}{''.join(f', {d}' for d in others)})."
    )
