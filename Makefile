# `make demo` and `make test` do all the set-up: a virtual environment of the project's own in
# .venv, then the install; both are remade when pyproject.toml or constraints.txt change.
# Choose an interpreter with `make test PYTHON=/path/to/python3.11`.

PYTHON  ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
INPUTS  := pyproject.toml constraints.txt setup.py

# apache-beam wants older versions of these packages than the pins: it has an environment of its own.
BEAM     := .venv-beam
UNPINNED := beartype|pillow|protobuf|pyarrow|python-dateutil

.PHONY: help demo test test-slow check beam clean

help:
	@echo "make demo       train, evaluate and explain on procedural audio; a few minutes, no download of data"
	@echo "make test       the fast tests"
	@echo "make test-slow  the tests that take minutes"
	@echo "make check      lint, format and types"
	@echo "make beam       an environment with apache-beam in .venv-beam, to build tables on many machines"
	@echo "make clean      remove caches and build leftovers (not .venv, not runs/)"

demo: $(VENV)/.installed-base
	$(BIN)/adiff demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --durations 12 --durations-min 5

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

beam: $(BEAM)/.installed

$(BEAM)/.installed: $(INPUTS)
	@echo "installing adiff_jax[beam] into $(BEAM) (once; two minutes or three)"
	@$(PYTHON) -m venv $(BEAM)
	@grep -vE '^($(UNPINNED))==' constraints.txt > $(BEAM)/constraints.txt
	@$(BEAM)/bin/python -m pip --disable-pip-version-check install --quiet -c $(BEAM)/constraints.txt -e ".[beam]"
	@touch $@

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "No Python found; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d; set PYTHON=..." % sys.version_info[:2])'
	@echo "creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed-base: $(VENV)/.created $(INPUTS)
	@echo "installing adiff_jax into $(VENV) (once; a minute or two)"
	@$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.created $(INPUTS)
	@echo "installing adiff_jax[$*] into $(VENV) (once; a minute or two)"
	@$(PIP) install --quiet -c constraints.txt -e ".[$*]"
	@touch $@

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find adiff_jax tests configs -name __pycache__ -type d -prune -exec rm -rf {} +
