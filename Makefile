# `make help` lists the targets. Nothing is needed but Python >= 3.11, make and a package index;
# uv is used where it is present.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
SHELL := /bin/bash

# A command on the PATH may be a shim that starts nothing, so each one is tried. `make PYTHON=...` chooses.
MODERN := -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each $(MODERN) 2>/dev/null && echo $$each && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv)

ifdef UV
make-venv = uv venv --quiet --clear --seed --python '$(PYTHON)' $(VENV)
install = uv pip install --quiet --python $(BIN)/python --editable
else
make-venv = $(PYTHON) -m venv --clear $(VENV)
install = $(BIN)/python -m pip install --quiet --editable
endif

BENCH := .venv-bench
BENCHES := $(patsubst benchmarks/bench_%.py,bench-%,$(wildcard benchmarks/bench_*.py))
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: help demo demo-paper test test-slow long-cases walk mutate records headline-check test-matrix lint docs docs-serve bench $(BENCHES) clean

help: ## this list
	@sed -En 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20
	@printf 'make bench-X        one benchmark: %s\n' '$(BENCHES)'

DEMO := runs/demo
demo: $(VENV)/.demo ## fit the density of a real table, and score rows that the model has not seen from where it is saved
	$(BIN)/pullback data fetch diabetes --out $(DEMO)
	$(BIN)/pullback fit density $(DEMO)/diabetes.csv --out $(DEMO)/model
	$(BIN)/pullback score $(DEMO)/model $(DEMO)/diabetes-new.csv --out $(DEMO)/scores.csv

demo-paper: $(VENV)/.demo ## train an ODE network on handwritten digits, print its claims and where the report lies
	$(BIN)/pullback run neural-ode --resume

# Two processes share the cores: one thread each is faster than two that fight.
test test-slow: export OMP_NUM_THREADS := 1
test test-slow: export OPENBLAS_NUM_THREADS := 1
test test-slow: export MKL_NUM_THREADS := 1
test test-slow: export XLA_FLAGS += --xla_cpu_multi_thread_eigen=false
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# Annotations are checked while the code runs, which takes an eighth of the time.
TYPED := --jaxtyping-packages=pullback,beartype.beartype
EXAMPLES := src tests/test_readme.py

test: $(VENV)/.test ## the examples of the docs, with types checked, and the tests, on two processes
	$(PYTEST) -m 'not slow' $(TYPED) $(EXAMPLES)
	$(PYTEST) -m 'not slow' tests --ignore=tests/test_readme.py

test-slow: $(VENV)/.test $(VENV)/.dev ## all tests with types checked, the longer proofs and cases among them
	$(PYTEST) $(TYPED)

long-cases: $(VENV)/.test ## measure every test, and list the cases that `make test` leaves to `make test-slow`
	$(BIN)/python tests/long_cases.py

walk: ## what the README tells to run, in a clean checkout and a fresh environment
	$(PYTHON) tests/walk_readme.py

mutate: $(VENV)/.test ## break the mathematics on purpose, and list the breaks that no test notices
	$(BIN)/python tests/mutate.py

records: $(VENV)/.demo ## run again what is recorded of older code; RECORDS="NAME ... --minutes 90" for some of it
	$(BIN)/python docs/make_records.py $(RECORDS)
	$(BIN)/python docs/make_reproduction.py

headline-check: $(VENV)/.demo ## run the headlines by five base seeds and by three that nobody chose; CHECKS="NAME ... --minutes 90"
	$(BIN)/python docs/check_headlines.py $(CHECKS)
	$(BIN)/python docs/make_reproduction.py

lint: $(VENV)/.dev ## style, format, types, the floors of the house, and that the docs are up to date and build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check
	$(BIN)/lint-imports
	$(BIN)/python docs/make_reproduction.py --check
	$(BIN)/python docs/make_reliability.py --check
	$(MAKE) --no-print-directory docs

# Pages whose sources have not changed are kept from the build before.
docs: $(VENV)/.dev ## the site, into site/html; a warning is an error
	$(BIN)/python docs/make_site.py
	$(BIN)/zensical build --strict --config-file site/mkdocs.yml

docs-serve: docs ## the site in a browser, at localhost:8000; run `make docs` beside it after a change
	$(BIN)/zensical serve --config-file site/mkdocs.yml

test-matrix: ## the tests on every interpreter present: on the PATH, or installed by pyenv
	@table='' failed=0; \
	for minor in 11 12 13 14; do \
		for python in python3.$$minor ~/.pyenv/versions/3.$$minor.*/bin/python3.$$minor; do \
			$$python $(MODERN) 2>/dev/null || continue; \
			venv=.venv-3.$$minor; \
			if $(MAKE) --no-print-directory test VENV=$$venv PYTHON=$$python; \
			then verdict=passed; else verdict=FAILED failed=1; fi; \
			jax=$$($$venv/bin/python -c 'from importlib.metadata import version as v; print(v("jax"))'); \
			table+="Python 3.$$minor  jax $$jax  $$verdict"$$'\n'; \
			break; \
		done; \
	done; \
	printf '%s' "$$table"; [[ -n $$table ]] && exit $$failed

bench: $(BENCHES) ## every benchmark; on a machine with nothing else to do

$(BENCHES): bench-%: $(BENCH)/.bench
	$(BENCH)/bin/python -W ignore benchmarks/bench_$*.py

clean: ## remove the environments and the caches; runs/ is yours and stays
	rm -rf .venv .venv-* .cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist site
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment is made once, and installed into again when pyproject.toml changes.
$(VENV)/bin/python:
	@[[ -n '$(PYTHON)' ]] || { echo 'No Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3' >&2; exit 1; }
	$(make-venv)

$(VENV)/.demo: extras := .
$(VENV)/.test: extras := .[test]
$(VENV)/.dev: extras := .[test,dev]
$(VENV)/.demo $(VENV)/.test $(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(install) '$(extras)'
	@touch $@

# Always pip: torch's CPU wheel is wanted, without gigabytes of CUDA. torchode's torchtyping asks for
# a typeguard older than tyro's, or (0.1.4) does not import with this torch, so it goes in by itself;
# so do torch-mist, which asks for a NumPy older than 2, storchastic, for an older Pyro, and torchcde, those of
# bilevel problems, of gradients an example and of continual learning, which ask for any torch, or for
# what only their examples use, neural-tangents, which asks for TensorFlow, those that explain, and
# polygraph-benchmark, which asks for a classifier of tables, with what its distances import.
$(BENCH)/.bench: pyproject.toml
	@[[ -n '$(PYTHON)' ]] || { echo 'No Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3' >&2; exit 1; }
	[[ -x $(BENCH)/bin/pip ]] || $(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/pip install --quiet --retries 1 --extra-index-url $(TORCH_INDEX) torch==2.13.0
	$(BENCH)/bin/pip install --quiet --editable '.[bench]'
	$(BENCH)/bin/pip install --quiet --no-deps torchode==1.0.1 torchtyping==0.1.5 torchcde==0.2.5 \
		torch-mist==0.2.17 storchastic==0.3.7 entmax==1.3 paramax==0.0.5 \
		betty-ml==0.1.1 higher==0.2.1 torchopt==0.7.3 \
		backpack-for-pytorch==1.7.1 unfoldNd==0.2.3 einops==0.8.2 opacus==1.6.0 \
		avalanche-lib==0.6.0 torchvision==0.28.0 dill==0.4.1 gdown==6.5.1 beautifulsoup4==4.15.0 \
		pytorchcv==0.0.74 psutil==7.2.2 gputil==1.4.0 \
		neural-tangents==0.6.5 frozendict==2.5.1 \
		captum==0.9.0 shap==0.51.0 slicer==0.0.8 \
		time-interpret==0.3.0 pytorch-lightning==2.6.6 \
		implicit==0.7.3 scikit-surprise==1.1.5 ledidi==2.2.0 \
		polygraph-benchmark==1.1.0 orbit-count==0.1.0 torch-geometric==2.8.1 xxhash==4.1.0 \
		loguru==0.7.3 appdirs==1.4.4 fsspec==2026.9.0 aiohttp==3.14.5 pyparsing==3.3.3
	@touch $@
