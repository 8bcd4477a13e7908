# Two commands do everything on a machine that has Python (>= 3.11), pip and make.
#   make run    set up, then the main job: a three-node broker under kill, pause and partition, 30 s
#   make test   set up, then every check and test; `make test T=tests/test_history.py` for some
# PYTHON=python3.12 chooses the interpreter; ARGS="--time-limit 10" is passed to `assay run`.

HERE   := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
PYTHON ?= python3
VENV   := $(HERE).venv
BIN    := $(VENV)/bin
T      ?= tests
ARGS   ?=

.PHONY: run test lint types unit clean
.DEFAULT_GOAL := test

# A stamp per kind of installation: done once, and again when pyproject.toml changes.
$(VENV)/run.stamp: $(HERE)pyproject.toml
	test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	cd "$(HERE)" && "$(BIN)/python" -m pip install --quiet --editable .
	touch "$@"

$(VENV)/dev.stamp: $(HERE)pyproject.toml
	test -x "$(BIN)/python" || "$(PYTHON)" -m venv "$(VENV)"
	cd "$(HERE)" && "$(BIN)/python" -m pip install --quiet --editable '.[dev]'
	touch "$@" "$(VENV)/run.stamp"

run: $(VENV)/run.stamp
	cd "$(HERE)" && "$(BIN)/assay" run log --system broker --nemesis kill,pause,partition --time-limit 30 $(ARGS)

test: lint types unit

lint: $(VENV)/dev.stamp
	cd "$(HERE)" && "$(BIN)/ruff" check . && "$(BIN)/ruff" format --check .

types: $(VENV)/dev.stamp
	cd "$(HERE)" && "$(BIN)/mypy"

# Unit and property tests first: they fail within a minute if they fail.
unit: $(VENV)/dev.stamp
	cd "$(HERE)" && "$(BIN)/pytest" $(T) -q -m "not bench and not local and not docker and not browser"
	cd "$(HERE)" && "$(BIN)/pytest" $(T) -q -m "local or docker or browser"

clean:
	rm -rf "$(VENV)"
