"""The API's description: only what is served, and how one signs in."""

import html
from typing import Any, Final

from fastapi import FastAPI

from outlast.agents.sections import AuthOpenApi, Sections
from outlast.server.http_section import disabled_paths

_METHODS: Final = ("get", "put", "post", "delete", "patch")
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
code{{font-size:14px}}td{{padding:.15em .8em .15em 0;vertical-align:top}}h2{{margin-top:1.6em}}</style></head>
<body><h1>{title}</h1><p>For programs: <a href="openapi.json">openapi.json</a>. Clients:
<code>langgraph_sdk.get_client(url=...)</code>, <code>@langchain/langgraph-sdk</code>.</p>{groups}</body></html>"""


def describe(app: FastAPI, sections: Sections) -> None:
    """Make `app.openapi()` leave out what is disabled and say what the project says about signing in."""
    build = app.openapi
    auth = sections.auth.openapi if sections.auth else None
    disabled = disabled_paths(sections.http)

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = build()
            if disabled is not None:
                schema["paths"] = {path: item for path, item in schema["paths"].items() if not disabled.fullmatch(path)}
            if auth is not None:
                _sign_in(schema, auth)
            if sections.http.mount_prefix:
                schema["servers"] = [{"url": sections.http.mount_prefix}]
            app.openapi_schema = schema
        return app.openapi_schema

    # This is how FastAPI wants to be told.
    app.openapi = described


def _sign_in(schema: dict[str, Any], auth: AuthOpenApi) -> None:
    schema.setdefault("components", {})["securitySchemes"] = auth.security_schemes
    schema["security"] = list(auth.security)
    for path, methods in auth.paths.items():
        for method, security in methods.items():
            operation = schema["paths"].get(path, {}).get(method.lower())
            if operation is not None:
                operation["security"] = security


def page(schema: dict[str, Any]) -> str:
    """Return the description as a page that needs nothing from anywhere else."""
    groups: dict[str, list[str]] = {}
    for path, item in schema["paths"].items():
        for method in _METHODS:
            if method in item:
                operation = item[method]
                texts = (method.upper(), path, operation.get("description") or operation.get("summary") or "")
                cells = [html.escape(text) for text in texts]
                row = f"<tr><td><code>{cells[0]}</code></td><td><code>{cells[1]}</code></td><td>{cells[2]}</td></tr>"
                groups.setdefault((operation.get("tags") or ["other"])[0], []).append(row)
    tables = (f"<h2>{html.escape(name)}</h2><table>{''.join(rows)}</table>" for name, rows in groups.items())
    return _PAGE.format(title=html.escape(schema["info"]["title"]), groups="".join(tables))
