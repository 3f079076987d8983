# Any target can be the first command in a fresh clone: it makes .venv if that is not there.
# All of it needs python3 (3.11 or later) and the package index that pip is configured for.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Passed on, as in `make test ARGS="-k fencing"`.
ARGS ?=

MAKEFLAGS += --no-print-directory
# Tests and benchmarks start hundreds of processes, which would all compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  make %-18s %s\n' "$$target" "$$text"; done

.PHONY: setup
setup: ## Make .venv with what development needs
	@$(PYTHON) scripts/bootstrap.py dev

.PHONY: setup-bench
setup-bench:
	@$(PYTHON) scripts/bootstrap.py bench

.PHONY: demo
demo: setup ## Run the demonstration
	@$(PY) examples/documents/demo.py $(ARGS)

.PHONY: test
test: setup ## Run the tests
	@# In the order of tests/conftest.py: what takes long comes first.
	@$(PY) -m pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder $(ARGS)

.PHONY: check
check: setup ## Check formatting, lint, types, layers and spelling
	@# All five, so that one run shows everything there is to repair.
	@failed=; for tool in "ruff format --check ." "ruff check ." pyright "lint-imports --no-logo" codespell; do \
		$(VENV)/bin/$$tool || failed="$$failed$${failed:+, }$$tool"; \
	done; if [ -n "$$failed" ]; then echo "check: not passed by $$failed"; exit 1; fi

.PHONY: format
format: setup ## Format, and fix what can be fixed by itself
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

.PHONY: torture
torture: setup ## Kill, pause and cut off workers for as long as ARGS says
	@$(PY) tests/torture/main.py $(ARGS)

.PHONY: fuzz
fuzz: setup ## Fuzz the API against its own description (ARGS="--examples 200")
	@$(PY) tests/agent_server/fuzzing.py $(ARGS)

.PHONY: bench-checkpoint
bench-checkpoint: setup-bench ## Measure writing and reading checkpoints
	@$(PY) benchmarks/checkpoint.py $(ARGS)

.PHONY: bench-growth
bench-growth: setup-bench ## Measure how the database grows with long threads
	@$(PY) benchmarks/growth.py $(ARGS)

.PHONY: bench-runs
bench-runs: setup-bench ## Measure runs per second from end to end
	@$(PY) benchmarks/runs.py $(ARGS)

.PHONY: bench-recovery
bench-recovery: setup-bench ## Measure the time from a worker's death to its runs going on
	@$(PY) benchmarks/recovery.py $(ARGS)

.PHONY: bench-stream
bench-stream: setup-bench ## Measure streams: many clients that come and go, and the time to the first event
	@$(PY) benchmarks/stream.py $(ARGS)

.PHONY: bench-outage
bench-outage: setup-bench ## Measure what an outage of a provider does to it and to runs
	@$(PY) benchmarks/outage.py $(ARGS)

.PHONY: bench-storm
bench-storm: setup-bench ## Measure what a storm of 429 does to a provider and to runs
	@$(PY) benchmarks/storm.py $(ARGS)

.PHONY: bench-calls
bench-calls: setup-bench ## Measure what a model call costs beyond the bare model
	@$(PY) benchmarks/calls.py $(ARGS)

.PHONY: bench-admission
bench-admission: setup-bench ## Measure what limits, policies and budgets cost a request
	@$(PY) benchmarks/admission.py $(ARGS)

.PHONY: bench-telemetry
bench-telemetry: setup-bench ## Measure what logs, metrics, anomalies, alerts and traces cost a run
	@$(PY) benchmarks/telemetry.py $(ARGS)

.PHONY: bench-inbox
bench-inbox: setup-bench ## Measure what runs that wait for people cost, and how soon an answer counts
	@$(PY) benchmarks/inbox.py $(ARGS)

.PHONY: eval-anomalies
eval-anomalies: setup ## Print which silent failures are found, how fast, and false alarms
	@$(PY) evals/anomalies/evaluate.py $(ARGS)

.PHONY: eval-detectors
eval-detectors: setup ## Print precision and recall of the detectors of failure modes
	@$(PY) evals/detectors/evaluate.py $(ARGS)

.PHONY: docs
docs: setup ## Write the generated parts of the documentation anew
	@$(PY) scripts/docs.py $(ARGS)

.PHONY: schema
schema: setup ## Write schema.sql anew from the migrations
	@$(PY) scripts/schema.py

.PHONY: lock
lock: ## Write the lock files anew (ARGS=--upgrade for newer versions)
	@$(PYTHON) scripts/bootstrap.py lock
	@$(PY) scripts/lock.py $(ARGS)

.PHONY: clean
clean: ## Remove .venv, caches and build output
	@rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
