# `make` alone prints the targets. Every target makes .venv first when it is missing or the versions changed.
PYTHON ?= python3
SWEEP ?= quick
BACKEND ?= local
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Folders whose slow tests share nothing and time nothing, side by side; in the others they run one after the other.
MANY := tests/contract tests/methods tests/cuda tests/training tests/config tests/datasets tests/deploy tests/docs tests/exchange

.DEFAULT_GOAL := help
.PHONY: help setup bench test test-slow figures ablation lint docs perf

help: ## print this list
	@echo 'SmileBench: make TARGET [SWEEP=quick] [BACKEND=local] [ARGS="key=value ..."]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo 'REUSE_TORCH=1 takes the torch that $(PYTHON) already has instead of the pinned one.'

setup: $(READY) ## make .venv with the pinned versions

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or later is needed: make PYTHON=python3.12'; exit 1; }
	$(PYTHON) -m venv $(if $(REUSE_TORCH),--system-site-packages) $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(if $(REUSE_TORCH),,-c requirements.lock) 'setuptools>=77'
	$(BIN)/python -m pip install -q --disable-pip-version-check $(if $(REUSE_TORCH),,-c requirements.lock) --no-build-isolation -e '.[dev]'
	@touch $@

bench: $(READY) ## run what is missing of a sweep, print its tables, write its report
	@$(BIN)/smilebench sweep $(SWEEP) --backend $(BACKEND) $(ARGS)

test: $(READY) ## the fast tests (about five minutes on two cores)
	@$(BIN)/python -m pytest -n auto --maxprocesses=8 --dist=worksteal -rs --durations=20

test-slow: $(READY) ## the slow tests
	@$(BIN)/python -m pytest -m slow -n auto --maxprocesses=8 --dist=worksteal -rs --durations=20 $(MANY)
	@$(BIN)/python -m pytest -m slow -rs --durations=20 $(addprefix --ignore=,$(MANY))

figures: $(READY) ## redraw tables, figures and report.html from the records
	@$(BIN)/smilebench figures $(SWEEP) $(ARGS)

ablation: SWEEP = ablation_smile
ablation: $(READY) ## run what is missing of SMILE's ablation, then its table, figure and words (SWEEP=ablation_digits: small)
	@$(BIN)/smilebench sweep $(SWEEP) --backend $(BACKEND) $(ARGS)

lint: $(READY) ## check style, formatting and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python -m mypy

docs: $(READY) ## build the documentation site into build/site
	@DISABLE_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict --quiet && echo build/site/index.html

perf: $(READY) ## measure speed, as ratios in one run (ARGS="steps data_path": these parts)
	@$(BIN)/python -m benchmark.perf $(ARGS)
