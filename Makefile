# `make run` and `make test` work on a bare clone with Python >= 3.11 and pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PRESET ?= small
# The data files, where a checkout has them beside it (see docs/concepts/data.md).
ifneq ($(wildcard ../shared/data/README.md),)
export TENFOLD_DATA ?= $(abspath ../shared/data)
endif

.PHONY: run test setup lint format docs bench wheel-check constraints clean

run: setup
	$(BIN)/tenfold run all $(PRESET)

test: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal
	XLA_FLAGS= $(BIN)/python -m pytest -n 2 -m bits tests/sde

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tenfold needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,test,dev,docs]'
	@touch $@

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet
	$(MAKE) wheel-check

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	$(BIN)/mkdocs build --strict

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# A wheel, installed in a clean environment outside the checkout, must list and run.
wheel-check: setup
	bash .ci/wheel-check "$(abspath $(BIN)/python)"

# The exact versions CI uses; run after changing a floor in pyproject.toml.
constraints: setup
	$(BIN)/python -m pip freeze --exclude-editable | grep -v ' @ ' > constraints.txt
	@touch $(READY)

clean:
	rm -rf $(VENV) site dist build
