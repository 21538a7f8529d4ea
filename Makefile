# Two commands: `make book` builds the book from a bare machine, `make test` checks everything.
# `make check` is for everyday work: all tests that are not marked slow, in a few minutes.
# SCALE=smoke|laptop   which runs the book shows          PART=clip   one part of the book only
# JOBS=2               experiments at a time               PYTHON=...  the interpreter for .venv
# ROOMS="metrics ..."  where `make mutants` mutates: rooms or modules of lib/towers
SCALE ?= laptop
PART ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
PYTHON ?= python3
ROOMS ?= metrics losses models/adapters.py
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: book test check smoke faults mutants bench lint clean setup
.DEFAULT_GOAL := book

book: $(READY)
	$(BIN)/towers report --scale $(SCALE) --jobs $(JOBS) $(if $(PART),--part $(PART))

smoke: $(READY)
	$(BIN)/towers run --all --scale smoke

test: $(READY) lint
	$(BIN)/python tests/browser_setup.py
	$(BIN)/towers data get
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(READY) lint
	$(BIN)/towers data get
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
	  -m "not slow" --durations 10 --durations-min 5

mutants: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation $(ROOMS)

faults: $(READY)
	TOWERS_FAULTS=full $(BIN)/python -m pytest tests/faults -n $(JOBS) --dist worksteal

bench: $(READY)
	$(BIN)/towers bench

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify notebooks/*/*.ipynb

clean:
	rm -rf _build .snakemake book/run book/api

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "towers: error: Python 3.11 or newer is needed, $$($(PYTHON) --version 2>&1) was found; name another with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "towers: error: this Python cannot make virtual environments; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
