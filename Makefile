# make song    a song from the shipped weights, in songs/ (installs into .venv first, once)
# make studio  a page in the browser that writes songs while you listen
# make test    the tests
# make check   lint, format, types, floors
# make deck    tiny trainings of the models of Bach's music, and a piece of each (needs the corpora: RITORNELLO_DATA)

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: song studio test check clean

song: $(VENV)/ready
	@$(BIN)/ritornello song

studio: $(VENV)/ready-studio
	@$(BIN)/ritornello studio

# Small tensors on many threads only wait for each other: a process a core, a thread a process.
test: $(VENV)/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

check: $(VENV)/ready-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

.PHONY: deck
deck: $(VENV)/ready-dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/deck.py

clean:
	rm -rf $(VENV)

# Nothing is installed while these stamps are newer than what they were made from.
# On Linux the package index hands out torch with CUDA (4 GB); where pip sees no CPU build, uv is asked to fetch the one
# that fits this machine, and where uv cannot reach it either, pip takes what the index has.
$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Ritornello needs Python 3.10 to 3.13; name one: make song PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "Installing into $(VENV): a few minutes, once."
	@$(PYTHON) -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! $(BIN)/python -m pip index versions torch 2>/dev/null | grep -q '2\.13\.[0-9]*+cpu'; then \
		$(BIN)/python -m pip install -q uv -c constraints.txt && \
		$(BIN)/uv pip install --python $(BIN)/python --torch-backend=auto -c constraints.txt 'torch>=2.13,<2.14' || true; fi
	@$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/ready-studio: $(VENV)/ready
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[studio]'
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@
