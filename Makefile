# Everything a newcomer needs: make demo, make test, make ui. `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# make demo SAMPLE=../shared/golden runs the same on a folder of real items.
SAMPLE ?=
PYTEST_ARGS ?=

.PHONY: help setup demo ui down test test-slow lint format bench clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup:  ## make or update .venv (quiet when it is up to date)
	@$(PYTHON) deploy/setup_environment.py

demo: setup  ## the whole lifecycle on the sample, ending with a served, traced answer
	@$(BIN)/luca $(if $(SAMPLE),--sample $(SAMPLE)) demo

ui: setup  ## Dagster with its daemon, on the demo's store and instance
	@$(BIN)/luca $(if $(SAMPLE),--sample $(SAMPLE)) ui

down: setup  ## stop what the demo left serving
	@$(BIN)/luca $(if $(SAMPLE),--sample $(SAMPLE)) down

test: setup  ## the quick suite
	@$(BIN)/python -m pytest -rs -m "not slow" $(PYTEST_ARGS)

test-slow: setup  ## the slow suite: torchrun, vLLM, whole lifecycles
	@$(BIN)/python -m pytest -rs -m slow --timeout 1800 $(PYTEST_ARGS)

lint: setup  ## ruff, mypy (strict), import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup  ## let ruff format and sort
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format --quiet .

bench: setup  ## benchmarks beside their peers
	@for file in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$file .py); done

clean:  ## remove the store, the instance and the caches (not .venv)
	@rm -rf .luca build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
