"""Keep runs in order, wake workers up, and let clients wait for the end of a run.

The table is the truth; notifications are hints. A lost notification costs at most one poll interval.
"""
