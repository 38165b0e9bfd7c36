# A bare `make` prints this menu.
.DEFAULT_GOAL := help
.PHONY: help demo test setup setup-test lint types pytest faults bench docs clean

UV := .tools/bin/uv
RUN := $(UV) run --frozen --no-sync
PYTHON ?= python3
PDUDAEMON := .tools/pdudaemon

help: ## print this menu
	@echo "boardherd: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s%s\n", $$1, $$2}'

demo: setup ## run broker, collector, agent and a simulated rack on this machine; Ctrl-C ends it
	@$(RUN) boardherd demo $(ARGS)

test: setup-test lint types pytest ## set up everything, then run every check and every test

setup: $(UV) ## install uv and the Python packages that boardherd needs to run
	@$(UV) sync --frozen --inexact --no-dev --quiet

setup-test: $(UV) ## install also what the tests need: Python and Debian packages
	@.ci/debian-packages mosquitto:mosquitto mosquitto_pub:mosquitto-clients initdb:postgresql \
		prometheus:prometheus chromium:chromium systemd-analyze:systemd \
		faketime:faketime strace:strace
	@$(UV) sync --frozen --inexact --quiet
	@$(MAKE) --no-print-directory $(PDUDAEMON)/ready tests/asyncapi/node_modules/ready

lint: ## style, imports and the wiring between packages
	$(RUN) ruff format --check --quiet
	$(RUN) ruff check --quiet
	$(RUN) lint-imports > .tools/imports.log || (cat .tools/imports.log; exit 1)

types: ## mypy, strict
	$(RUN) mypy

pytest: ## the tests alone; ARGS="-k spool" picks some
	$(RUN) pytest -n 2 --dist loadfile --ignore tests/faults $(ARGS)
	$(RUN) pytest -n 4 --dist loadfile $(ARGS) tests/faults

faults: setup-test ## an hour of faults over agent, collector, broker and database, and the ordinary ways beside it
	PYTHONPATH=tests $(RUN) python -m faults.kills --count 1000
	PYTHONPATH=tests $(RUN) python -m faults.campaign --minutes 60 --json faults.json $(ARGS)

bench: setup-test ## measure commands, inventory checks, the probes of 300 boards and the backlog of 200 agents; prints JSON
	PYTHONPATH=tests $(RUN) python -m bench.command
	PYTHONPATH=tests $(RUN) python -m bench.inventory
	PYTHONPATH=tests $(RUN) python -m bench.probes
	PYTHONPATH=tests $(RUN) python -m bench.backlog $(ARGS)

docs: ## make the generated parts of docs/ again
	$(RUN) python docs/generate.py

clean: ## remove what was installed and cached here
	rm -rf .venv .tools tests/asyncapi/node_modules .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "boardherd needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/debian-packages no-ensurepip:python3-venv
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.15'

tests/asyncapi/node_modules/ready: tests/asyncapi/package-lock.json
	@cd tests/asyncapi && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

$(PDUDAEMON)/ready: tests/integration/pdudaemon.txt | $(UV)
	@$(UV) venv --quiet --clear $(PDUDAEMON)
	@$(UV) pip install --quiet --python $(PDUDAEMON) --no-deps -r $<
	@touch $@
