# make demo         from nothing to a probe's result on the built-in images
# make test         from nothing to all quick tests
# make test-slow    the slow ones
# make check        format, lint, types, tests
# make notebooks    run all notebooks and keep their outputs
# make transcripts  rewrite the README's transcripts with what the commands print now
#
# PYTHON=python3.12 chooses the interpreter that .venv is made from. KEEP_TORCH=1 keeps the torch that
# this interpreter can already import, instead of installing the newest one.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip shows its own progress bar: the newest torch is a download of gigabytes.
PIP := $(BIN)/python -m pip install --disable-pip-version-check

.PHONY: demo test test-slow check format notebooks transcripts clean

demo: $(VENV)/.demo
	$(BIN)/finetune --strategy probe

test: $(VENV)/.dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/build.py

transcripts: $(VENV)/.dev
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) dist build

# A stamp says what is installed; it is older than pyproject.toml once that has changed.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): 6.2 GB with the newest torch for Linux, some minutes the first time."
	$(PIP) --editable ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): 6.2 GB with the newest torch for Linux, some minutes the first time."
	$(PIP) --editable ".[dev]"
	@touch $(VENV)/.demo $@

# A kept torch is found through a .pth file, behind what is installed into .venv itself.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
ifdef KEEP_TORCH
	$(PYTHON) -c 'import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))' \
	  > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/kept-torch.pth"
endif
