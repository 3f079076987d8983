"""The smallest value that fits a JSON schema, for answers that nobody scripted."""

from typing import Any, Final, TypeAlias, cast

#: A schema that refers to itself goes no deeper.
_DEEPEST: Final = 20
_PLAIN: Final = {"string": "example", "integer": 1, "number": 1.0, "boolean": True}

Schema: TypeAlias = dict[str, Any]


def example_of(schema: Schema) -> Any:
    """Return a value of the schema: the first of its choices, and of an object what is required."""
    return _example(schema, schema, 0)


def _example(schema: Schema, root: Schema, depth: int) -> Any:
    if depth > _DEEPEST:
        return None
    if reference := schema.get("$ref"):
        return _example(_resolved(reference, root), root, depth + 1)
    for fixed in ("const", "default"):
        if fixed in schema:
            return schema[fixed]
    if choices := schema.get("enum") or schema.get("examples"):
        return choices[0]
    if branches := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return _example(branches[0], root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: Schema, root: Schema, depth: int) -> Any:
    named: Any = schema.get("type")
    kind = str(cast("list[Any]", named)[0] if isinstance(named, list) else named)
    if kind == "object" or "properties" in schema:
        properties: dict[str, Schema] = schema.get("properties", {})
        wanted: list[str] = schema.get("required", list(properties))
        return {name: _example(properties.get(name, {}), root, depth + 1) for name in wanted}
    if kind == "array":
        return [_example(schema.get("items", {}), root, depth + 1) for _ in range(schema.get("minItems", 0))]
    if kind in {"integer", "number"} and "minimum" in schema:
        return schema["minimum"]
    return _PLAIN.get(kind)


def _resolved(reference: str, root: Schema) -> Schema:
    found = root
    for name in reference.removeprefix("#/").split("/"):
        found = cast("Schema", found.get(name, {}))
    return found
