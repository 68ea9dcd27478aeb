PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses auto --dist loadfile
RUNTIME_STAMP := $(VENV)/.runtime
DEV_STAMP := $(VENV)/.dev

.PHONY: demo test check bench clients kind-e2e fast slow oracle-nightly explore plots clean

demo: $(RUNTIME_STAMP)
	$(BIN)/harness run scenarios/quickstart.yaml --on sim,vmock,mock

# Tests that look at clocks and servers run one after the other.
test: $(DEV_STAMP)
	$(BIN)/pytest $(PARALLEL) tests/unit tests/property tests/oracle tests/virtual
	$(BIN)/pytest tests/e2e

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q $(PARALLEL) tests/unit tests/property -m "not slow"

bench: $(DEV_STAMP)
	$(BIN)/pytest tests/bench -m bench --benchmark-only -s

plots: $(DEV_STAMP)
	$(BIN)/python tools/plot_cost.py

# The same engine as a native extension; needs a C compiler.
fast: $(DEV_STAMP)
	$(BIN)/python -m tools.compile_engine

slow: $(DEV_STAMP)
	$(BIN)/python -m tools.compile_engine --clean

# The operator with other major versions of the official Kubernetes client.
clients: $(DEV_STAMP)
	set -e; for major in 32 35; do \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade \
	    --target $(VENV)/kubernetes-$$major "kubernetes==$$major.*"; \
	  PYTHONPATH=$(VENV)/kubernetes-$$major \
	    $(BIN)/pytest -q tests/unit/dgdr/test_dgdr_operator_client.py; \
	done

# The flow of tests/e2e/test_kubernetes_flow.py on kind; says so where it has to be skipped.
kind-e2e: $(DEV_STAMP)
	sh deploy/kind/e2e.sh $(BIN)/python

# The tests of properties with new random cases each time, ROUNDS times.
explore: $(DEV_STAMP)
	for round in $$(seq $(or $(ROUNDS),5)); do \
	  HYPOTHESIS_PROFILE=explore $(BIN)/pytest -q $(PARALLEL) \
	    $$(grep -rlE '@given|stateful' tests/property tests/oracle tests/unit) || exit 1; \
	done

# The large profile of the engine's oracle.
oracle-nightly: $(DEV_STAMP)
	ORACLE_CASES=10000 $(BIN)/pytest -q tests/oracle

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(RUNTIME_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@ $(RUNTIME_STAMP)
