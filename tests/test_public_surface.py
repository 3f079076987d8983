"""What users may import is a list."""

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import outlast

PUBLIC = [
    "Allow",
    "Applied",
    "AskHuman",
    "Checkpointer",
    "Invalid",
    "JournalMismatch",
    "KeyProvider",
    "NotApplied",
    "OutlastError",
    "Policy",
    "PolicyFacts",
    "PolicyRequest",
    "Reason",
    "Refuse",
    "Secret",
    "Valid",
    "ValidationContext",
    "Validator",
    "chat_model",
    "effect",
    "escalate",
    "journal",
    "middleware",
    "progress",
    "trace_headers",
    "validated",
    "wrap",
]


def test_the_public_names_are_these():
    assert outlast.__all__ == PUBLIC
    assert dir(outlast) == sorted([*PUBLIC, "__version__"])


def test_nothing_else_is_visible():
    for name in PUBLIC:
        getattr(outlast, name)
    visible = [name for name, value in vars(outlast).items() if not name.startswith("_") and is_own(name, value)]
    assert sorted(visible) == PUBLIC


def is_own(name, value):
    # What the module itself imports to work; not a promise, and not listed.
    return not isinstance(value, ModuleType) and name not in {"import_module", "TYPE_CHECKING"}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_its_implementation(name):
    assert getattr(outlast, name) is getattr(importlib.import_module(outlast._HOMES[name]), name)


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = outlast.nothing


def test_star_imports_the_public_names():
    code = "from outlast import *; print(*sorted(name for name in globals() if not name.startswith('_')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == PUBLIC
