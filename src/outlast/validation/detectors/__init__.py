"""Failure modes of agents, each made visible by a small class of its own.

A detector reads the trace of one run (`trace.Trace`) and says how much speaks for its mode, from 0 to 1, and why. From
its threshold on, it is a finding. The thresholds were fitted on one half of the labelled set in `evals/detectors`, and
are measured on the other (`make eval-detectors`; docs/detectors.md has the figures).

No detector asks a model: it costs nothing, says the same every time, and sees only what words, figures and calls show.
"""
