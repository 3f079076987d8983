"""The store: what agents and clients keep beyond a thread, as LangGraph's `BaseStore` on PostgreSQL."""
