# Needs Python 3.11 or newer and make; every target sets up what it uses in $(VENV).
PYTHON ?= python3
VENV ?= .venv
# Passed on, as in: make train ARGS="--model cnn --rate 0.25"
#                   make compiled ARGS="--only v5e h100"
ARGS ?=
# Passed on to pytest; one worker a core of a small machine.
PYTEST_ARGS ?= -n 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two targets must not install into one environment at a time.
.NOTPARALLEL:
.PHONY: help train test test-slow mutants versions compiled docs lint format
.PHONY: format-check typecheck check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

train: $(VENV)/.installed-examples ## Train the default network (ARGS="..." for others)
	$(BIN)/python -m examples.train $(ARGS)

test: $(VENV)/.installed-test ## Run the tests, without the slow ones
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-test ## Run the slow tests
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow

mutants: $(VENV)/.installed-test ## Break the library on purpose: do the tests notice?
	$(BIN)/python -m tests.mutants

versions: $(VENV)/.installed-dev ## Run the self-check under other versions of JAX
	$(BIN)/nox --session versions

compiled: $(VENV)/.installed-dev ## Compile for TPUs and a GPU that need not be there
	$(BIN)/nox --session compiled -- $(ARGS)

docs: $(VENV)/.installed-docs ## Run every example of the site, and build it into site/
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "slow or not slow" tests/project/test_pages.py \
	  tests/project/test_tour.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

lint: $(VENV)/.installed-dev ## Lint
	$(BIN)/ruff check .

format: $(VENV)/.installed-dev ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

format-check: $(VENV)/.installed-dev ## Check the format, change nothing
	$(BIN)/ruff format --check .

typecheck: $(VENV)/.installed-dev ## Check the types
	$(BIN)/mypy

check: docs test lint format-check typecheck ## Run the tests and every check

clean: ## Remove the environment, caches and build output
	rm -rf $(VENV) build dist site .hypothesis .nox .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that a set-up that was cut short starts afresh. The pip
# that comes with Python may be too old to know dependency groups.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'jdrop needs Python 3.11 or newer: make PYTHON=python3.11' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) 'pip>=25.1'
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.created
	$(PIP) --editable . --group $*
	@touch $@
