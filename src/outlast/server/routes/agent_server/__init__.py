"""The Agent Server API, one file per resource: what the SDKs of LangGraph call."""
