# make run · make test · make check · make bench · make nemesis · make tools · make lock
.DEFAULT_GOAL := help
.PHONY: help run test check format bench nemesis tools lock dev traces

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
PROCESSES ?= logical

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1 |/' | column -t -s '|'

run: .venv/run.stamp  ## start everything in the foreground
	@exec $(BIN)/instrument-registry serve

# Compiled first: processes run as somebody who may not write there, and would each compile everything anew.
test: .venv/dev.stamp  ## every test: in parallel, then those that need the machine alone
	@$(BIN)/python -m compileall -q src
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
	@if [ -x .venv/tools/usr/bin/promtool ] || { command -v prometheus && command -v promtool; } >/dev/null; then :; \
		elif command -v apt-get >/dev/null && command -v dpkg >/dev/null; then $(MAKE) -s .venv/tools/usr/bin/promtool \
		|| echo "prometheus could not be fetched: what it would say of metrics and rules is not judged"; \
		else echo "prometheus is missing: what it would say of metrics and rules is not judged"; fi
	@$(MAKE) -s .venv/tools/sdks/made || echo "brokers' own programs could not be fetched: what they would send is not judged"
	@if command -v npm >/dev/null; then $(MAKE) -s tests/outside/node_modules/.package-lock.json; \
		else echo "npm is missing: what its packages would say of webhooks is not judged"; fi

# Unpacked and not installed: Debian would start it as a service.
.venv/tools/usr/bin/promtool:
	@mkdir -p .venv/tools/fetched
	@cd .venv/tools/fetched && { apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null 2>&1 \
		|| { apt-get update -qq >/dev/null 2>&1 && apt-get download -qq -o APT::Sandbox::User=root prometheus; }; }
	@dpkg -x .venv/tools/fetched/prometheus_*.deb .venv/tools
	@rm -r .venv/tools/fetched

# Apart from everything else: what they ask for contradicts each other, and nobody needs all of it.
.venv/tools/sdks/made: tests/outside/sdks.lock
	@rm -rf .venv/tools/sdks
	@$(PIP) install --no-deps --require-hashes --target .venv/tools/sdks -r tests/outside/sdks.lock
	@touch $@

tests/outside/node_modules/.package-lock.json: tests/outside/package-lock.json
	@cd tests/outside && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lock: .venv/dev.stamp  ## pin every dependency by hash again, at the newest versions
	$(BIN)/python tests/house/locks.py

dev: .venv/dev.stamp  ## install what developing needs

traces: .venv/run.stamp  ## install what sends traces to a collector
	@$(PIP) install --require-hashes -r requirements-traces.lock

.venv/run.stamp: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 run")'
	@$(BIN)/python -c '' 2>/dev/null || { echo "Installing into .venv …"; $(PYTHON) -m venv --clear .venv; }
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@$(BIN)/python -m compileall -q src
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
