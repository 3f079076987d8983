"""Everything an agent does to the outside: calls of models and tools, and effects.

A model call passes the layers that `chain` composes, outermost first:

    journal -> caps -> cache -> fallback( breaker( limiter( retry( provider ))))

Each is a function that takes the next handler and returns one (`call.Handler`), in a file of its own. What a process
shares is in `services`; what an attempt of a run brings along is its `scope`. Outside of a run the same chain works
without what needs the database.
"""
