"""Three tools that do real work without a network."""

import ast
import operator
from collections.abc import Callable
from datetime import date
from pathlib import Path

from langchain_core.tools import tool

EXAMPLES = Path(__file__).resolve().parent.parent
OPERATORS: dict[type, Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}
LONGEST = 2000


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression such as (12 + 30) * 2."""
    try:
        return f"{_value(ast.parse(expression, mode='eval').body):g}"
    except (SyntaxError, ValueError, ZeroDivisionError) as error:
        return f"cannot work that out: {error}"


@tool
def read_example(path: str) -> str:
    """Read a text file of the examples folder, such as support/orders.json."""
    file = (EXAMPLES / path).resolve()
    if not file.is_relative_to(EXAMPLES) or not file.is_file():
        return f"there is no file {path} in the examples"
    return file.read_text(encoding="utf-8", errors="replace")[:LONGEST]


@tool
def days_between(first: str, second: str) -> str:
    """Count the days from one date to another, both like 2026-03-14."""
    try:
        return str((date.fromisoformat(second) - date.fromisoformat(first)).days)
    except ValueError as error:
        return f"cannot read that date: {error}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.operand))
    msg = "only numbers and + - * / // % ( )"
    raise ValueError(msg)
