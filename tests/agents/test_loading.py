"""Reading project files and importing what they name: every mistake has a message that says what to do."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from outlast.agents.loading import load_attribute, module_name
from outlast.agents.project import AgentSpec, Project, find_project, load_project
from outlast.agents.registry import Registry
from outlast.errors import AgentLoadError

GRAPH = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict):
    count: int

graph = StateGraph(State).add_node("step", lambda state: state).add_edge(START, "step").compile()
"""


@pytest.fixture(autouse=True)
def _clean_imports():
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules.keys():
        # Libraries stay: importing LangGraph twice would make its classes exist twice.
        if "site-packages" not in (getattr(sys.modules[name], "__file__", None) or "site-packages"):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty project directory that is the top of a repository, so no search leaves it."""
    (tmp_path / ".git").mkdir()
    return tmp_path


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text), encoding="utf-8")
    importlib.invalidate_caches()


def put_graphs(root: Path, graphs: object, **other: object) -> Project:
    put(root / "langgraph.json", json.dumps({"graphs": graphs, **other}, indent=2))
    return load_project(root / "langgraph.json")


async def failure(project: Project, name: str = "a") -> AgentLoadError:
    with pytest.raises(AgentLoadError) as caught:
        await Registry(project).get(name)
    return caught.value


def test_langgraph_json_is_read_with_both_forms_of_an_entry(root: Path) -> None:
    put(root / ".env", "TOKEN=abc\n# comment\nQUOTED='a b'\nREF=${HOME}\n")
    project = put_graphs(
        root,
        {"short": "./agents/a.py:graph", "long": {"path": "my_app.graphs:make", "description": "Outlines"}},
        dependencies=["."],
        env=".env",
        store={"ttl": {}},
    )

    assert project.agents["short"] == AgentSpec(
        name="short", path=root / "agents/a.py", module=None, attribute="graph", description=""
    )
    assert project.agents["long"] == AgentSpec(
        name="long", path=None, module="my_app.graphs", attribute="make", description="Outlines"
    )
    assert (project.root, project.file) == (root, root / "langgraph.json")
    assert project.dependencies == (".",)
    assert project.env == {"TOKEN": "abc", "QUOTED": "a b", "REF": "${HOME}"}


def test_env_may_be_a_table_and_is_not_applied(root: Path) -> None:
    assert put_graphs(root, {}, env={"OUTLAST_TEST_ONLY": "1"}).env == {"OUTLAST_TEST_ONLY": "1"}
    assert "OUTLAST_TEST_ONLY" not in os.environ


def test_a_missing_env_file_is_no_error_because_it_is_seldom_deployed(root: Path) -> None:
    assert put_graphs(root, {}, env=".env").env == {}


def test_outlast_toml_is_read_with_both_forms_and_other_tables_stay_unread(root: Path) -> None:
    put(
        root / "outlast.toml",
        """
        concurrency = 4
        [database]
        url = "postgres://"
        [agents]
        short = "./a.py:graph"
        [agents.long]
        graph = "my_app:make"
        description = "Outline 100 modules"
        """,
    )
    project = load_project(root / "outlast.toml")

    assert list(project.agents) == ["short", "long"]
    assert project.agents["long"].description == "Outline 100 modules"
    assert project.settings == {"concurrency": 4, "database": {"url": "postgres://"}}


def test_the_project_is_found_from_a_subdirectory(root: Path) -> None:
    put_graphs(root, {"a": "./a.py:graph"})
    (root / "deep/er").mkdir(parents=True)

    assert find_project(root / "deep/er").root == root


def test_the_search_ends_at_the_top_of_the_repository(root: Path) -> None:
    put_graphs(root, {"a": "./a.py:graph"})
    (root / "inner/.git").mkdir(parents=True)

    with pytest.raises(AgentLoadError, match=r"there is no outlast\.toml or langgraph\.json"):
        find_project(root / "inner")


def test_agents_of_both_files_are_added_up(root: Path) -> None:
    put_graphs(root, {"a": "./a.py:graph"}, dependencies=["./src"])
    put(root / "outlast.toml", 'workers = 2\n[agents]\nb = "./b.py:graph"\n')

    project = find_project(root)

    assert sorted(project.agents) == ["a", "b"]
    assert (project.dependencies, project.settings) == (("./src",), {"workers": 2})


def test_a_name_in_both_files_is_an_error(root: Path) -> None:
    put_graphs(root, {"a": "./a.py:graph"})
    put(root / "outlast.toml", '[agents]\na = "./b.py:graph"\n')

    with pytest.raises(AgentLoadError, match=r"agent 'a' is declared twice: in .*langgraph.json:3 and in outlast.toml"):
        find_project(root)


def test_without_a_project_file_the_error_shows_one(root: Path) -> None:
    with pytest.raises(AgentLoadError, match=r'(?s)create one.*\[agents\]\n.*my_agent = "./agent.py:graph"'):
        find_project(root)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("langgraph.json", '{\n  "graphs": {,}\n}', r"langgraph.json:2:14: this is not valid JSON"),
        ("langgraph.json", '{"graphs": {"a": "x:y", "a": "x:z"}}', r"the key 'a' occurs twice"),
        ("langgraph.json", '{"graph": {}}', r'"graphs" is missing \(did you mean \'graph\'\?\)'),
        ("langgraph.json", "[]", r"the file holds list"),
        ("langgraph.json", '{"graphs": ["x:y"]}', r"graphs holds list"),
        ("langgraph.json", '{"graphs": {"a": {"path": "x:y", "descriptions": ""}}}', r"did you mean 'description'"),
        ("langgraph.json", '{"graphs": {}, "dependencies": "."}', r'"dependencies" is no list'),
        ("langgraph.json", '{"graphs": {}, "env": {"PORT": 1}}', r"the value of 'PORT' is no text"),
        ("outlast.toml", "a = 1\nb = = 2\n", r"not valid TOML: .*line 2, column 5"),
        ("outlast.toml", '[agents.a]\ngrpah = "x:y"\n', r"agent 'a': unknown key 'grpah' \(did you mean 'graph'\?\)"),
        ("outlast.toml", '[agents.a]\ndescription = "x"\n', r"'graph' is missing or no text"),
        ("outlast.toml", '[agents]\na = "./agent.py"\n', r"'./agent.py' does not name a graph.*'./agent.py:graph'"),
        ("outlast.toml", '[agents]\na = "./agent.js:g"\n', r"neither a Python file .* nor a dotted module"),
        ("outlast.toml", '[agents]\n"a/b" = "x:y"\n', r"agent 'a/b': this name cannot be used"),
        ("outlast.toml", '[agents]\n" a" = "x:y"\n', r"this name cannot be used"),
    ],
)
def test_a_wrong_project_file_is_refused_with_the_place_and_the_remedy(root: Path, file, text, message) -> None:
    (root / file).write_text(text)

    with pytest.raises(AgentLoadError, match=message):
        load_project(root / file)


def test_names_of_published_projects_are_allowed(root: Path) -> None:
    assert put_graphs(root, {"Deep Researcher": "x:y", "a.b-c_1": "x:y"}).agents.keys() == {
        "Deep Researcher",
        "a.b-c_1",
    }


async def test_a_file_is_imported_under_its_dotted_name_so_that_its_types_exist_once(root: Path) -> None:
    put(root / "flows/documents.py", GRAPH)
    put(root / "flows/other.py", "from flows.documents import State")
    project = put_graphs(root, {"a": "./flows/documents.py:graph", "b": "./flows/other.py:State"})

    module, _ = load_attribute(project, project.agents["a"])
    _, seen_by_the_other = load_attribute(project, project.agents["b"])

    assert module.__name__ == "flows.documents"
    assert module.State is seen_by_the_other


def test_a_source_directory_among_the_dependencies_is_the_top_of_module_names(root: Path) -> None:
    put(root / "src/my_app/__init__.py", "")
    put(root / "src/my_app/graphs.py", GRAPH)
    project = put_graphs(
        root, {"a": "./src/my_app/graphs.py:graph", "b": "my_app.graphs:graph"}, dependencies=[".", "./src"]
    )

    module, graph = load_attribute(project, project.agents["a"])

    assert module.__name__ == "my_app.graphs"
    assert load_attribute(project, project.agents["b"]) == (module, graph)


def test_a_package_file_is_never_named_from_inside_its_package(root: Path) -> None:
    put(root / "pack/__init__.py", "")
    put(root / "pack/graphs.py", GRAPH)
    project = put_graphs(root, {"a": "./pack/graphs.py:graph"}, dependencies=[".", "./pack"])

    assert load_attribute(project, project.agents["a"])[0].__name__ == "pack.graphs"


def test_a_file_that_cannot_be_imported_by_name_gets_one_that_pickling_finds(root: Path) -> None:
    put(root / "my-agent.py", GRAPH)
    put(root / "my_agent.py", GRAPH)
    put(root / "json.py", GRAPH)
    project = put_graphs(root, {"a": "./my-agent.py:graph", "b": "./my_agent.py:graph", "c": "./json.py:graph"})

    names = [load_attribute(project, spec)[0].__name__ for spec in project.agents.values()]

    assert names[0].startswith("outlast_agent_my_agent_")
    assert names[1] == "my_agent"
    assert names[2].startswith("outlast_agent_json_"), "a file of the project never hides an installed module"
    assert all(importlib.import_module(name) is sys.modules[name] for name in names)
    assert load_attribute(project, project.agents["a"])[0] is sys.modules[names[0]], "it is not executed twice"


def test_the_directories_are_put_on_the_path_once(root: Path) -> None:
    put(root / "a.py", GRAPH)
    project = put_graphs(root, {"a": "./a.py:graph"}, dependencies=[".", "./src", "langchain"])
    (root / "src").mkdir()

    for _ in range(2):
        load_attribute(project, project.agents["a"])

    assert [sys.path.count(str(d)) for d in (root, root / "src", root / "langchain")] == [1, 1, 0]


SHOW = """
import asyncio, sys
from pathlib import Path
from outlast.agents.registry import Registry, find_project

async def show():
    registry = Registry(find_project(Path(sys.argv[1])))
    for name in registry.names:
        agent = await registry.get(name)
        print(name, agent.version, agent.graph.builder.state_schema.__module__)

asyncio.run(show())
"""


def test_another_process_gives_the_same_module_names_and_versions(root: Path) -> None:
    put(root / "my-agent.py", GRAPH)
    put(root / "lib/shared.py", GRAPH)
    put_graphs(root, {"a": "./my-agent.py:graph", "b": "./lib/shared.py:graph"})
    put(root / "lib/show.py", SHOW)

    def run(cwd: Path, seed: str, *command: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, *command, str(root)], cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    # Started as a script, its directory lib/ is sys.path[0]; started with -c, the working directory is.
    first = run(root.parent, "1", "-c", SHOW)

    assert run(root / "lib", "2", "show.py") == first
    names = [line.split()[-1] for line in first.splitlines()]
    assert names[0].startswith("outlast_agent_my_agent_")
    assert names[1] == "lib.shared"


async def test_a_missing_file_is_reported_with_the_files_that_are_there(root: Path) -> None:
    put(root / "flows/documents.py", GRAPH)
    error = await failure(put_graphs(root, {"a": "./flows/document.py:graph"}))

    assert f"{root / 'langgraph.json'}:3: agent 'a': there is no file {root / 'flows/document.py'}" in str(error)
    assert "(did you mean 'documents.py'?)" in str(error)
    assert error.code == "agent_load_error"


async def test_a_missing_attribute_is_reported_with_the_graphs_that_are_there(root: Path) -> None:
    put(root / "a.py", GRAPH + "async def helper(x): ...\n")
    error = await failure(put_graphs(root, {"a": "./a.py:grahp"}))

    assert "a.py has no 'grahp' (did you mean 'graph'?). It has graphs: graph; functions: helper." in str(error)


async def test_an_import_that_raises_shows_the_users_exception_and_line(root: Path) -> None:
    put(root / "tool.py", "def divide():\n    return 1 / 0\n")
    put(root / "a.py", "import tool\n\nx = tool.divide()\n")
    error = await failure(put_graphs(root, {"a": "./a.py:graph"}))

    assert "ZeroDivisionError: division by zero" in str(error)
    assert f'File "{root / "tool.py"}", line 2' in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert "a" not in sys.modules


async def test_a_failed_import_under_a_made_up_name_leaves_nothing_behind(root: Path) -> None:
    put(root / "my-agent.py", "import sys\nsys.exit(3)\n")
    project = put_graphs(root, {"a": "./my-agent.py:graph"})
    error = await failure(project)

    assert "SystemExit: 3" in str(error)
    assert module_name(project, root / "my-agent.py") not in sys.modules


async def test_a_syntax_error_points_to_file_and_line(root: Path) -> None:
    put(root / "a.py", "x = 1\ndef f(:\n    pass\n")
    error = await failure(put_graphs(root, {"a": "./a.py:graph"}))

    assert f'File "{root / "a.py"}", line 2' in str(error)
    assert "SyntaxError" in str(error)


async def test_a_missing_package_is_reported_with_both_remedies(root: Path) -> None:
    put(root / "a.py", "import no_such_package.part\n")
    error = await failure(put_graphs(root, {"a": "./a.py:graph"}))

    assert "pip install no_such_package." in str(error)
    assert f'"dependencies" in langgraph.json (now on the path: {root})' in str(error)
    assert isinstance(error.__cause__, ModuleNotFoundError)


async def test_a_missing_module_in_the_project_file_is_reported(root: Path) -> None:
    error = await failure(put_graphs(root, {"a": "no_such_app.graphs:graph"}))

    assert "module 'no_such_app.graphs' needs the module 'no_such_app', which cannot be found" in str(error)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("langgraph.json", "[]", 'the file holds list, .* Write {"graphs": {"my_agent": "./agent.py:graph"}}'),
        ("langgraph.json", '{"graphs": ["./a.py:graph"]}', 'graphs holds list, .* Write "graphs": {"my_agent"'),
        ("langgraph.json", '{"graphs": {"a": 7}}', "agent 'a' holds int, .* Write \"./agent.py:graph\""),
        ("langgraph.json", '{"graphs": {}, "env": 7}', 'env holds int, .* Write "env": {"NAME": "value"}'),
        ("outlast.toml", 'agents = "./a.py:graph"', r"agents holds str, .* Write a line \[agents\] and below it"),
    ],
    ids=["file", "graphs", "agent", "env", "agents"],
)
def test_where_a_table_is_missing_it_is_said_what_to_write(root: Path, name: str, text: str, told: str) -> None:
    put(root / name, text)
    with pytest.raises(AgentLoadError, match=told):
        load_project(root / name)
