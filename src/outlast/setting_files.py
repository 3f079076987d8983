"""Settings and keys of providers that stand in files: `DATABASE_URL_FILE=/run/secrets/database` and the like.

What a file holds is the value, without the line break at its end.
"""

from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Final

from outlast.errors import ConfigurationError

_SUFFIX: Final = "_FILE"
_LONGEST_BYTES: Final = 64 * 1024
#: What providers' libraries read from the environment by these names; any other that ends in _API_KEY is taken as well.
KEYS: Final = frozenset({
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_OPENAI_API_KEY", "HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN",
    "LANGCHAIN_API_KEY", "LANGSMITH_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY",
})  # fmt: skip


def from_files(variables: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables, and those of `names` that a file gives: `X_FILE` is replaced by `X`.

    Names are compared without case, and returned as in `names`. Raises ConfigurationError when a file cannot be read,
    or when `X` and `X_FILE` are both there.
    """
    wanted = {f"{name}{_SUFFIX}".upper(): name for name in names}
    given = {name.upper() for name in variables}
    found: dict[str, str] = {}
    for variable, value in variables.items():
        name = wanted.get(variable.upper())
        if name is None or not value:
            found[variable] = value
        elif name.upper() in given:
            msg = f"{name} and {variable} are both set; leave one of them out"
            raise ConfigurationError(msg)
        else:
            found[name] = content(variable, value)
    return found


def content(variable: str, path: str) -> str:
    """Return what a file holds; raises ConfigurationError that names the variable and never the content."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        msg = f"{variable}: {path} cannot be read ({error.strerror or type(error).__name__})"
        raise ConfigurationError(msg) from error
    if len(data) > _LONGEST_BYTES:
        msg = f"{variable}: {path} has more than {_LONGEST_BYTES:,} bytes; a value stands there and nothing else"
        raise ConfigurationError(msg)
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"{variable}: {path} is not UTF-8"
        raise ConfigurationError(msg) from error


def apply_key_files(environment: MutableMapping[str, str]) -> None:
    """Set the keys of providers that files hold, for libraries that know no files; the name of the file is taken out.

    So a process that is started from here inherits the key once, and not two ways to it.
    """
    names = [name for name in environment if _names_key(name)]
    for variable in names:
        name = variable.removesuffix(_SUFFIX)
        if environment.get(name):
            msg = f"{name} and {variable} are both set; leave one of them out"
            raise ConfigurationError(msg)
        environment[name] = content(variable, environment[variable])
        del environment[variable]


def _names_key(variable: str) -> bool:
    name = variable.removesuffix(_SUFFIX)
    return variable.endswith(_SUFFIX) and (name in KEYS or name.endswith("_API_KEY")) and not name.startswith("OUTLAST")
