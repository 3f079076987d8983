"""Who asks, and what of it is allowed: the project's `langgraph_sdk.Auth`, or nobody's when there is none.

What a route needs is in `access`: `CurrentUser` and `allowed`.
"""
