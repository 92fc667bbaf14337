# From a bare checkout with python3 (3.11 or newer), make and a package index:
#   make demo    set up and quantize the embedded model to seven levels, each run by llama.cpp
#   make test    set up and pass every test
#   make check   format, lint, types and the fast tests, in under a minute once set up

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check format bench clean

demo: $(VENV)/base
	$(BIN)/pennyweight demo -o demo

test: $(VENV)/dev
	$(BIN)/python -m pytest

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q -m "not slow"

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.quantize

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, {sys.version.split()[0]} found; run make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/base: $(VENV)/python pyproject.toml constraints.txt
	$(PIP) --editable .
	@touch $@

$(VENV)/dev: $(VENV)/base
	$(PIP) --editable '.[dev,torch]'
	@touch $@

clean:
	rm -rf $(VENV) demo build dist
