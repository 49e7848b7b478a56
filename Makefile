# `make verify` and `make test` need nothing but Python >= 3.11 and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet install --no-compile --constraint constraints.txt
# All cores compile what pip would compile on one; a few packages ship a file for a later Python, which pip passes over too.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true

.PHONY: help verify test paper bench check certificates clean
help:          ## list the targets
	@grep -hE '^[a-z]+: .*##|^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 24

verify: $(VENV)/.core      ## install what is needed, then derive, certify, check and measure every claim
	@$(BIN)/crossmodal verify

test: $(VENV)/.test        ## install what tests need, then run every test
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal  # two processes of one thread each

paper: $(VENV)/.paper      ## draw every figure and write the document into paper/build/ (a PDF too, where LaTeX is)
	@$(BIN)/crossmodal paper

bench: $(VENV)/.test       ## speed and memory of the kernels beside their peers
	@$(BIN)/crossmodal bench

check: $(VENV)/.check      ## lint, formatting, types of the package as it is installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@rm -rf build/typecheck build/lib && $(PIP) --no-deps --no-build-isolation --target build/typecheck .
	@MYPYPATH=build/typecheck $(BIN)/mypy -p crossmodal

certificates: $(VENV)/.core ## derive every certificate again and write theory/certificates/
	@$(BIN)/crossmodal verify --rewrite

clean:         ## remove what the targets above made
	@rm -rf $(VENV) build paper/build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing crossmodal and what it needs into $(VENV) (about a minute, once)"
	@$(PIP) --editable .
	@$(COMPILE)
	@touch $@
# Holds all of .core and .paper, so that a clean clone that tests first installs once.
$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "installing crossmodal and what the tests need into $(VENV) (about a minute, once)"
	@$(PIP) --editable '.[test,vlm,cluster,paper]'
	@$(COMPILE)
	@touch $(VENV)/.core $(VENV)/.paper $@
$(VENV)/.paper: pyproject.toml constraints.txt | $(VENV)/.core
	@$(PIP) --editable '.[paper,vlm]'
	@$(COMPILE)
	@touch $@
$(VENV)/.check: pyproject.toml constraints.txt | $(VENV)/.test
	@$(PIP) --editable '.[check]' 'setuptools>=77'
	@$(COMPILE)
	@touch $@
