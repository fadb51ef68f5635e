# Two commands matter to a newcomer: `make demo` and `make test`. Each makes .venv if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-to-run
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs-installed
FUZZ_STAMP := $(VENV)/.fuzz-installed
# With bytecode kept, whatever the shell says: hundreds of tests start a process, and each would compile the package.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-suite test-outputs test-slow torture fuzz lint format stubs bench bench-quick leaderboard docs clean

demo: $(RUN_STAMP)
	$(BIN)/mergeometry demo --output demo

test: $(STAMP)
	$(PYTEST) -m "not slow and not suite and not outputs and not torture"

test-suite: $(STAMP)
	$(PYTEST) -m "suite and not slow"

# Makes three environments in the cache folder on its first run.
test-outputs: $(STAMP)
	$(BIN)/python -m pytest -m outputs tests/outputs

test-slow: $(STAMP)
	$(PYTEST) -m slow

# The long versions of what docs/guarantees.md promises; four minutes on two idle cores.
torture: $(STAMP)
	$(PYTEST) -m torture -o junit_family=xunit1 --junitxml=.torture.xml
	$(BIN)/python -m tools.figures .torture.xml
	$(BIN)/python -m tools

# Half an hour; atheris has wheels for Linux alone.
fuzz: $(FUZZ_STAMP)
	$(BIN)/python -m tests.hostile.fuzz > .fuzz.txt
	$(BIN)/python -m tools.fuzzing .fuzz.txt
	$(BIN)/python -m tools

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What editors and type checkers know of methods and refinements, docs/api.md and docs/guarantees.md.
stubs: $(STAMP)
	$(BIN)/python -m tools

bench: $(STAMP)
	$(BIN)/python -m benchmarks.speed.environments
	$(BIN)/python -m benchmarks.speed

# A few minutes: small rows as ratios to plain programs, against the committed ones; fails where one is a fifth slower.
bench-quick: $(STAMP)
	$(BIN)/python -m benchmarks.speed.regressions

leaderboard: $(STAMP)
	$(BIN)/python -m benchmarks.pages.leaderboard

# The site, into site/; a broken link or a page outside the navigation is an error.
docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict

# The exact set that is tested; torch first, from the constraints, or an index may offer a build with CUDA.
# `make demo` needs no more than what runs: 1.4 GB, where the developers' tools make it 2.3 GB.
$(RUN_STAMP): pyproject.toml suite/pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@echo 'installing what runs into $(VENV): 1.4 GB, about 0.4 GB to download; minutes'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable . --editable ./suite
	touch $(RUN_STAMP)

$(STAMP): $(RUN_STAMP)
	$(PIP) --editable '.[dev]' --editable ./suite
	touch $(STAMP)

# Only `make docs` needs what builds the site.
$(DOCS_STAMP): $(STAMP)
	$(PIP) --editable '.[docs]'
	touch $(DOCS_STAMP)

# Only `make fuzz` needs the fuzzer.
$(FUZZ_STAMP): $(STAMP)
	$(PIP) --editable '.[fuzz]'
	touch $(FUZZ_STAMP)

clean:
	rm -rf $(VENV) demo site .pytest_cache .hypothesis .ruff_cache
