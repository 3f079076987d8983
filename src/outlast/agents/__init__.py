"""Stage `agents`: the graph runs here, checkpointed after every step. The only package that imports LangGraph."""
