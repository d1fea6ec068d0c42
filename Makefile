# Everything here works from a bare clone on a machine with Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV := $(BIN)/uv pip install --quiet --python

.PHONY: help install clients run first-run test fuzz lint format bench-quick coverage mutants openapi api-changes audit sbom bench
.PHONY: chaos screenshots lock lock-clients clean
.DEFAULT_GOAL := help
# The suite starts hundreds of processes: each would compile all of app/ anew where nobody may keep what was compiled.
unexport PYTHONDONTWRITEBYTECODE

help:  ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The service alone is enough to run it; the development tools come on top for test, lint and bench. uv needs seconds where
# pip needs half a minute; but pip knows of a mirror that is configured for pip alone.
.venv/service: requirements.txt requirements-build.txt pyproject.toml
	@echo "Installing the service into .venv (half a minute the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements-build.txt
	@$(UV) $(BIN)/python --require-hashes -r requirements.txt || $(PIP) install --require-hashes -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/development: .venv/service requirements-dev.txt
	@echo "Installing the development tools into .venv ..."
	@$(UV) $(BIN)/python --require-hashes -r requirements-dev.txt || $(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# Tools with requirements of their own, for the tests of the API's description. Without npm those tests are skipped.
clients: .venv/clients tests/clients/node_modules  ## install the generators and checkers of the API's description

.venv/clients: tests/clients/requirements.txt .venv/development
	@echo "Installing the tools that check the API's description ..."
	@rm -rf $@ && $(BIN)/uv venv --quiet --python $(BIN)/python $@
	@$(UV) $@/bin/python --require-hashes -r tests/clients/requirements.txt
	@touch $@

tests/clients/node_modules: tests/clients/package-lock.json
	@if command -v npm >/dev/null && cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; then :; \
	else rm -rf node_modules; echo "NO NODE TOOLS: some tests of the API's description will be skipped"; test -z "$$CI"; fi

.venv/audit: requirements-audit.txt .venv/development
	@echo "Installing the tools that look at the dependencies ..."
	@rm -rf $@ && $(BIN)/uv venv --quiet --python $(BIN)/python $@
	@$(UV) $@/bin/python --require-hashes -r requirements-audit.txt
	@touch $@

# Changes Python code and looks whether a test notices. On top of the development tools, since it runs the tests itself.
.venv/mutation: requirements-mutation.txt .venv/development
	@echo "Installing what makes mutants ..."
	@$(PIP) install --require-hashes -r requirements-mutation.txt
	@touch $@

install: .venv/development  ## make .venv with the service and the development tools

run: .venv/service  ## serve on 127.0.0.1:8000; without provider credentials, with a simulated provider
	@$(BIN)/recording-status run

first-run:  ## what a new user waits for: clone, install, run, a recording settled
	@$(PYTHON) bench/first_run.py

test: .venv/development clients .venv/audit  ## the whole suite, on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

fuzz: .venv/development  ## the API's contract under fire, thousands of requests on each engine; ARGS=--short for the form of CI
	@$(BIN)/python -W ignore -m tests.fuzz $(ARGS)

bench-quick: .venv/development  ## whether the service fell behind a bare server since the last time (bench/roofline.json)
	@$(BIN)/python -W ignore -m bench.roofline --quick

coverage: .venv/development clients  ## the whole suite, and which lines and branches of app/ it leaves out (docs/coverage.md)
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -n 3 --dist worksteal $(ARGS); failed=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report && exit $$failed

mutants: .venv/mutation  ## change app/core in every small way; does a test notice? (docs/mutants.md); ARGS='app.core.budget.*' for a part
	@$(BIN)/mutmut run $(ARGS)
	@$(BIN)/python -m tests.mutants

lint: .venv/development  ## ruff, mypy, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/development  ## let ruff format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

openapi: .venv/service  ## write docs/openapi.json anew, from the code
	@PUBLIC_URL= $(BIN)/recording-status openapi >docs/openapi.json

api-changes: .venv/development  ## what in docs/openapi.json may break callers of the last release
	@$(BIN)/python -m tests.compatibility

audit: .venv/audit  ## known vulnerabilities of what we run on, by pip-audit; needs its data from the internet
	@.venv/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.txt

sbom: .venv/audit  ## write dist/recording-status.cdx.json: what the service is made of, as CycloneDX
	@mkdir -p dist
	@$(SBOM) -o dist/recording-status.cdx.json

# As in the Dockerfile. The warning it silences: requirements do not say who needs whom.
SBOM = .venv/audit/bin/python -W ignore -m cyclonedx_py requirements requirements.txt --pyproject pyproject.toml --output-reproducible

bench: .venv/development  ## the call budget against the simulator, beside other limiters (long: see docs/benchmarks.md)
	@$(BIN)/python bench/budget.py $(ARGS)

screenshots: .venv/development  ## make docs/screenshots anew; needs a chromium
	@$(BIN)/python docs/screenshots.py $(ARGS)

chaos: .venv/development  ## the failure drill, a few minutes; ARGS=--short for the form of a minute
	@$(BIN)/python -m bench.chaos $(ARGS)

lock: .venv/development  ## resolve the requirements anew, with hashes
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --group build -o requirements-build.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --group audit -o requirements-audit.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade pyproject.toml --group build --group dev -c requirements.txt -o requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade --group mutation -c requirements-dev.txt -o requirements-mutation.txt

lock-clients: .venv/development  ## resolve the tools of tests/clients anew
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade tests/clients/requirements.in -o tests/clients/requirements.txt
	@cd tests/clients && npm update --omit-lockfile-registry-resolved --package-lock-only --no-audit --no-fund

clean:  ## remove .venv and caches; ./data stays
	@rm -rf .venv tests/clients/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis mutants .coverage .coverage.*
