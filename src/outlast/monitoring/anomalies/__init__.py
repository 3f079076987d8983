"""What is not as usual about agents although nothing failed: found, told once, and over when it is.

    run.ended -> Observer -> run_observations -> Judge -> anomalies, `anomaly.found`, `anomaly.ended`

For each agent with each model there is a baseline of what its healthy runs were like, in the database and shared by all
processes. Every worker tries to judge every few seconds, one at a time does, and each run counts once.

Figures (length, tokens, cost, time, tool calls, confidence, distance of inputs) are compared robustly: see `shifts`.
Rates (refusals, empty answers, invalid ones, errors by class, repeated outputs, certainty): see `rates`. One fault is
one finding, which is over when runs are as usual again, or when what was found has become what is usual: see `watches`.
"""
