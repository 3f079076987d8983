"""The HTTP API: parse, call once, render. The only package that imports FastAPI and Starlette."""
