"""One file per resource: its routes, and what they take and give."""

from outlast.server.routes import chat, health, runs, threads

ROUTERS = (runs.router, threads.router, chat.router, health.router)
