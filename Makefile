# Everything here works from a bare clone on a machine with Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help install run test lint format bench chaos screenshots lock clean
.DEFAULT_GOAL := help

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The service alone is enough to run it; the development tools come on top for test, lint and bench.
.venv/service: requirements.txt requirements-build.txt pyproject.toml
	@echo "Installing the service into .venv (about a minute the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements-build.txt
	@$(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/development: .venv/service requirements-dev.txt
	@echo "Installing the development tools into .venv ..."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

install: .venv/development  ## make .venv with the service and the development tools

run: .venv/service  ## serve on 127.0.0.1:8000; without provider credentials, with a simulated provider
	@$(BIN)/recording-status run

test: .venv/development  ## the whole suite, on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: .venv/development  ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/development  ## let ruff format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

bench: .venv/development  ## the call budget against the simulator, beside other limiters (long: see docs/benchmarks.md)
	@$(BIN)/python bench/budget.py $(ARGS)

screenshots: .venv/development  ## make docs/screenshots anew; needs a chromium
	@$(BIN)/python docs/screenshots.py

chaos: .venv/development  ## the failure drill, a few minutes; ARGS=--short for the form of a minute
	@$(BIN)/python -m bench.chaos $(ARGS)

lock: .venv/development  ## resolve the requirements anew, with hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --group build -o requirements-build.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade pyproject.toml --group build --group dev -c requirements.txt -o requirements-dev.txt

clean:  ## remove .venv and caches; ./data stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
