# Every target sets up what it needs in .venv, with the pinned versions of constraints.txt: `run` and `install` what the
# job needs, the others what tests need on top. uv installs in seconds what takes pip minutes: it is used where it is on
# the PATH or can be installed from the package index, else pip is; a line says which.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PACKAGES = --constraint constraints.txt --editable
# Tests start hundreds of processes, which otherwise compile all that they import where the environment says so.
export PYTHONDONTWRITEBYTECODE :=
# Tests wait for processes as much as they compute: two at a time take little more than half of the time.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: run test test-all check bench install boosters torch browser clean

run: $(RUNTIME)
	@$(BIN)/python job/main.py

test: $(DEV)
	$(PYTEST)

test-all: $(DEV)
	$(PYTEST) -m "not alone"
	$(BIN)/python -m pytest -m alone

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# `make bench small fleet` is `make bench CASES="small fleet"`: words behind `bench` are cases, and no targets.
ifeq (bench,$(firstword $(MAKECMDGOALS)))
CASES := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
$(CASES): ; @:
endif

bench: $(DEV)
	$(BIN)/python -m tests.bench $(CASES)

install: $(RUNTIME)

# The libraries of optional algorithms, without which tests of these are skipped by name. PyTorch is some gigabytes.
boosters: $(VENV)/.boosters

torch: $(VENV)/.torch

# Chromium for the tests of reports: of the system's packages where it is absent and may be installed.
browser: $(VENV)/.browser
	@command -v chromedriver >/dev/null && command -v chromium >/dev/null || { \
		[ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium chromium-driver; }

define install
	@uv=$$(command -v uv || echo $(BIN)/uv); \
	[ -x "$$uv" ] || $(PIP) install uv 2>/dev/null || true; \
	if [ -x "$$uv" ] && echo "installing $(1) into $(VENV) with uv" && \
		"$$uv" pip install --quiet --compile-bytecode --python $(BIN)/python $(PACKAGES) "$(1)"; then :; \
	else echo "installing $(1) into $(VENV) with pip" && $(PIP) install $(PACKAGES) "$(1)"; fi
	@touch $@
endef

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	$(call install,.)

$(DEV): $(RUNTIME)
	$(call install,.[dev])

$(VENV)/.boosters: $(DEV)
	$(call install,.[boosters])

$(VENV)/.browser: $(DEV)
	$(call install,.[browser])

$(VENV)/.torch: $(DEV)
	$(call install,.[torch])

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) models .mypy_cache .pytest_cache .ruff_cache .hypothesis
