# make demo | test | nightly | check | bench | docs: each makes .venv on its first use and is at work at once from then on.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
STEPS ?=

.PHONY: help demo test nightly check format bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[test]'
	touch $@

demo: $(INSTALLED)  ## fine-tune a small VGG on drawn photographs and compare (2 minutes on 2 cores)
	$(BIN)/python examples/finetune_voc.py $(if $(STEPS),--steps $(STEPS))

test: $(INSTALLED)  ## all tests, doctests and documentation examples
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

nightly: $(INSTALLED)  ## what `make test` leaves out: the largest networks, the longest runs
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal -m nightly

check: $(INSTALLED)  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## steps, layers, loops, checkpoints and data beside what one would use instead
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/nets.py
	$(BIN)/python benchmarks/loops.py
	$(BIN)/python benchmarks/checkpoints.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/data.py

docs: $(INSTALLED)  ## the API reference, in build/docs
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[docs]'
	$(BIN)/pdoc --docformat google --output-directory build/docs torchslim

clean:  ## remove the environment and everything that was built or written
	rm -rf $(VENV) build dist runs *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
