# `make demo` and `make test` do everything on a fresh machine with Python 3.11 to 3.13, installs included.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
WORKERS ?= 2
EXTRAS := cpu,cuda,torch,explain,models,report,test,dev

.PHONY: demo test lint types fast bench bench-gpu clean

$(STAMPS)/pip:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || (echo "c2i-fast needs Python 3.11 to 3.13, found $(PYTHON); set PYTHON=…"; exit 1)
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/demo: $(STAMPS)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[cpu,torch,explain,report]'
	touch $@

$(STAMPS)/all: $(STAMPS)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

# TensorRT's own Python bindings, 10 and 11, against which its back end is checked without a GPU.
$(STAMPS)/tensorrt: $(STAMPS)/all tests/fetch_tensorrt_bindings.py
	$(BIN)/python tests/fetch_tensorrt_bindings.py
	touch $@

demo: $(STAMPS)/demo
	$(BIN)/c2i-fast demo --out demo --force

test: lint types $(STAMPS)/tensorrt
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"
	$(BIN)/python -m pytest -q -n $(WORKERS) -m slow

fast: $(STAMPS)/all
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow"

lint: $(STAMPS)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMPS)/all
	$(BIN)/mypy

bench: $(STAMPS)/all
	$(BIN)/python benchmarks/all.py

bench-gpu: $(STAMPS)/all
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
