# Every target works on a clean clone: it makes the virtual environment and installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# One process a core, each with one thread: torch's own threads gain nothing on small models. Who is
# done takes over tests of who is not.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: quickstart test check mutants fuzz oldest portable fmt bench peers clean
.DEFAULT_GOAL := check

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "textgym needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[tasks]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[tasks,metrics,constraints,baselines,lora,video,corpus,judge,feedback,postgres,bench,dev]"
	@$(BIN)/python -m pip install --quiet --editable ".[questions]" || \
	  echo "reasoning-gym could not be installed (it needs a C compiler): its tests are skipped"
	@touch $@ $(VENV)/.installed

quickstart: $(VENV)/.installed  ## the main job on real text, about eight minutes on two cores
	$(BIN)/textgym quickstart $(ARGS)

test: $(VENV)/.installed-dev  ## every test, the learning tests included
	$(PYTEST) tests --ignore=tests/benchmarks $(ARGS)

check: $(VENV)/.installed-dev  ## format, lint, types, import rules, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) tests --ignore=tests/benchmarks -m "not slow and not learning" -q

mutants: $(VENV)/.installed-dev  ## small errors, planted into copies: which of them does no test notice?
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutants --jobs "$$(nproc)" $(ARGS)

fuzz: $(VENV)/.installed-dev  ## made-up inputs for everything that reads what a stranger wrote, 10,000 each
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(ARGS)

oldest: $(VENV)/.installed-dev  ## the environments on the oldest Gymnasium that is supported
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/oldest gymnasium==1.1.1
	PYTHONPATH=$(VENV)/oldest $(PYTEST) tests/contracts tests/textgym -m "not slow" -q

portable: $(VENV)/.installed-dev  ## the fast tests as other processors round, with other threads, beside a load
	$(BIN)/python tests/portable.py -n auto --dist worksteal -m "not slow and not learning" $(or $(ARGS),tests --ignore=tests/benchmarks)

fmt: $(VENV)/.installed-dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## speed, as ratios to something run beside it
	$(BIN)/python -m pytest tests/benchmarks -q -s $(ARGS)

# Folders of their own, without what they require: torch and transformers are the same for all.
peers: $(VENV)/.installed-dev  ## what the benchmark puts beside PPO and GRPO
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/peers/trl-1.12 trl==1.12.0
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/peers/trl-1.16 trl==1.16.0
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/peers/datasets \
	  datasets pyarrow dill xxhash multiprocess

clean:  ## everything that make made
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
