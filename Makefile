# STAR's commands. Each target works alone on a bare machine: it makes the virtual environment it needs.
SHELL := /bin/bash
VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo demo-two-stream demo-sweep demo-annotate demo-loop demo-retrain reproduce-synth test test-all check format bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else \
	  f"STAR needs Python 3.11 or 3.12. Received: {v[0]}.{v[1]}. Fix: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(READY) ## make the virtual environment (.venv)

demo: $(READY) ## synth videos -> shards -> ST-ABN by ray job submit -> scores, strips, MLflow (under 10 minutes on 2 cores)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo.py

demo-two-stream: $(READY) ## videos -> shards -> flow -> two streams, maps, attention nets -> fused scores (under 15 minutes on 2 cores)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo_two_stream.py

demo-annotate: $(READY) ## the annotation page over clips that the demo's network gets wrong, until Ctrl-C (makes what it needs of the demo)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo_annotate.py

demo-loop: $(READY) ## mine -> eight simulated annotators through HTTP -> sealed batch -> fine-tuning beside its control
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo_loop.py

demo-retrain: $(READY) ## two nights of retraining: good batches promote, bad ones are refused, a rollback undoes
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo_retrain.py

demo-sweep: $(READY) ## a small network, edits of two classes, twelve fine-tunings and the control; killed, it goes on
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/demo_sweep.py

reproduce-synth: $(READY) ## every table and claim of the papers on the synth bench -> docs/reproduction/synth.md; killed, it goes on
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python jobs/reproduce.py all --beyond --data synth --document docs/reproduction/synth.md

# Files of tests that start Ray get a process each: a driver that joins one cluster after another keeps threads and
# references of the earlier ones, and now and then waits for a task of a cluster that is gone. They mostly wait for Ray's
# processes, so all other tests run beside them; those are printed last, so that the last line counts tests.
RAY_FILES = $$(grep -rlE 'mark\.ray' tests --include='test_*.py' | sort)
define run_tests
	export PATH="$(abspath $(BIN)):$$PATH"; \
	others=$$(mktemp); \
	python -m pytest -n 1 --dist loadfile -m 'not ray$(1)' > "$$others" 2>&1 & pid=$$!; \
	trap 'kill $$pid 2> /dev/null; rm -f "$$others"' EXIT; \
	for file in $(RAY_FILES); do \
	  python -m pytest -m 'ray$(1)' $$file; status=$$?; \
	  if [ $$status -ne 0 ] && [ $$status -ne 5 ]; then exit $$status; fi; \
	done; \
	wait $$pid; status=$$?; cat "$$others"; exit $$status
endef

test: $(READY) ## the default tests
	$(call run_tests, and not slow)

test-all: $(READY) ## the slow tests too (kills, many videos, full-size networks, the demo)
	$(call run_tests,)

check: $(READY) ## lint, format check, strict types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## two benchmarks, data feed and TV-L1 on a CPU, as ratios of interleaved runs; benchmarks/ has the others
	$(BIN)/python benchmarks/feed.py
	$(BIN)/python benchmarks/tvl1.py

# A training without --storage writes to runs/ too, so only folders with a demo's marker go (jobs/demo_steps.py).
clean: ## remove the virtual environment, and each folder in runs/ that a demo made (it holds .star-demo)
	rm -rf $(VENV)
	@for marker in runs/*/.star-demo; do if [ -e "$$marker" ]; then (set -x; rm -rf "$${marker%/*}"); fi; done
