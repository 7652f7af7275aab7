# On a fresh machine with Python (3.9 or newer, with venv) and make; nothing is written outside this folder:
#   make demo        a certificate's life on practice CAs: issue, deploy, renew, revoke; half a minute, no root
#   make test-unit   style, types and unit tests; two minutes, no root, no server
#   make test        all that is checked before a change lands, with real servers; as root (or with sudo that asks for no
#                    password) it first INSTALLS THESE SERVERS with apt-get; else it says which tests it leaves out
PYTHON ?= python3
VENV := .venv
CACHE := $(CURDIR)/.cache
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
WHEEL = $(firstword $(wildcard $(CACHE)/wheel/*.whl))

# Nothing is written outside this folder, by pip or by anything that wants a temporary file.
export PIP_CACHE_DIR ?= $(CACHE)/pip
export TMPDIR := $(CACHE)/tmp

.PHONY: demo test test-unit packages wheel environment matrix lint unit integration coverage docs clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo: wheel
	@$(PIP) --force-reinstall --no-deps "$(firstword $(wildcard $(CACHE)/wheel/*.whl))"
	@$(PIP) "$(firstword $(wildcard $(CACHE)/wheel/*.whl))[sandbox]"
	@$(BIN)/certbot-garr-tcs sandbox --tour

test: packages environment matrix lint
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory unit integration coverage

test-unit: environment lint
	@$(BIN)/pytest -q -n 3 tests/unit

# pip is what venv installs last. An environment without it is half-made, and is made anew.
$(BIN)/pip:
	@mkdir -p $(TMPDIR)
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# A fresh wheel each time: what is tested is what would be installed. Old build folders would leak into it.
wheel: $(BIN)/pip
	@mkdir -p $(TMPDIR)
	@rm -rf build $(CACHE)/wheel
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w $(CACHE)/wheel .
	@rm -rf build

environment: wheel
	@$(PIP) --force-reinstall --no-deps "$(firstword $(wildcard $(CACHE)/wheel/*.whl))"
	@$(PIP) "$(firstword $(wildcard $(CACHE)/wheel/*.whl))[test]"

matrix: environment
	@$(BIN)/python tests/support/matrix.py build "$(firstword $(wildcard $(CACHE)/wheel/*.whl))"

# The system's packages have the system's place for temporary files: ours may not exist yet, or not be for all users.
packages:
	@env -u TMPDIR sh tests/packages.sh

lint:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

unit:
	@$(BIN)/pytest -q --cov --cov-append --cov-report= -n 3 tests/unit

# ACME clients sleep a lot: four at once keep two cores busy. Files with few and long tests must not come last.
integration:
	@$(BIN)/pytest -q --cov --cov-append --cov-report= -n 4 --dist loadfile --no-loadscope-reorder --durations=15 \
		tests/integration

coverage:
	@$(BIN)/coverage report --fail-under=95
	@$(BIN)/coverage report --fail-under=100 --include='*/account/*,*/challenges/routing.py,*/deploy/formats.py,*/deploy/transaction.py'

docs: environment
	@$(PIP) "$(firstword $(wildcard $(CACHE)/wheel/*.whl))[docs]"
	@$(BIN)/mkdocs build -q

clean:
	@rm -rf $(VENV) $(CACHE) build *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache
