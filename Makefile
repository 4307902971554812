PYTHON ?= python3
BIN := .venv/bin

.PHONY: book downloads test test-slow lint bench clean

book: .venv/ready     ; $(BIN)/jupyter-book build . -W -n --keep-going
downloads: book       ; $(BIN)/bnlib downloads
test: .venv/ready     ; $(BIN)/pytest
test-slow: .venv/ready; $(BIN)/pytest -m slow
lint: .venv/ready     ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports
bench: .venv/ready    ; $(BIN)/python -m benchmarks
clean:                ; rm -rf _build

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[dev]"
	touch $@
