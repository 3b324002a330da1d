# Each target is a few commands that you could also type.
#
#   make demo [AUDIO_POSTS=20000] [DIRTY=true] [POSTGRES=17] [POSTGRES_BIN=/usr/lib/postgresql/15/bin]
#   make stop
#   make bench [SIZES="100000 300000 1000000"] [RUNS=3] [MEMORY="default small"] [POSTGRES=17] [CONTENDERS="guide online"]
#   make drill [DRILL_AUDIO_POSTS=1000] [OPERATIONS=300] [EACH_VERSION=true] [POSTGRES=17]
#   make soak [SOAK_AUDIO_POSTS=100000] [POSTGRES=17]

.DEFAULT_GOAL := demo

## help: list the targets
help:
	@sed -n 's/^## \([a-z-]*\): /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  %-16s %s\n' "$$name" "$$text"; done

VENV := .venv
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	"$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
		&& { echo "$$name"; break; }; done)

# The wheels with PostgreSQL 17 are for Linux only; macOS gets 18 from another package.
POSTGRES ?= $(if $(filter Darwin,$(shell uname -s)),18,17)
POSTGRES_BIN ?=
AUDIO_POSTS ?= 20000
DIRTY ?= false
SOAK_AUDIO_POSTS ?= 100000

# Parallel tests of `make test`. More than the number of processors makes tests that measure time unreliable.
JOBS ?= 2

# Run parts in parallel and print the output of each when it ends (GNU make 4).
SIDE_BY_SIDE := $(MAKE) --no-print-directory --jobs=$(JOBS) $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
PYTEST := $(VENV)/bin/python -m pytest --numprocesses=$(JOBS) --dist=worksteal
MOLECULE := MOLECULE_EPHEMERAL_DIRECTORY=$(CURDIR)/.ansible/molecule MOLECULE_COMMAND_BORDERS=false $(VENV)/bin/molecule
# Every scenario except `default`, which creates the server that the others share.
SCENARIOS := $(filter-out default,$(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))

# Find the tools without an activated environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help check one demo stop lock lint unit integration molecule $(SCENARIOS:%=scenario-%) test slow drill soak twin kills rollback-kills restores lock-holds bench bench-peers

## demo: start an embedded server with sample data and run the whole guide on it
demo: $(VENV)/.requirements
	@ansible-playbook -i inventories/local playbooks/demo/start.yml \
		-e demo_audio_posts=$(AUDIO_POSTS) -e demo_dirty=$(DIRTY) -e embedded_postgres_version=$(POSTGRES) \
		-e embedded_postgres_bin_directory=$(POSTGRES_BIN)
	@ansible-playbook -i inventories/local migrate.yml; status=$$?; \
		echo; \
		report=$$(ls -td artifacts/local/local_database/*/report.md 2>/dev/null | head -n 1); \
		echo "Report:       $${report:-none was written}"; \
		echo "The server keeps running. Stop and remove it: make stop"; \
		exit $$status

## stop: stop the demo server and the test server of `make one`, and remove their data
stop: $(VENV)/.requirements
	@ansible-playbook -i inventories/local playbooks/demo/stop.yml
	@if [ -e .runtime/test-server ]; then $(VENV)/bin/python tests/support/kept_server.py stop; fi

## lock: resolve the dependencies of pyproject.toml again, with hashes (needs uv)
lock:
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		pyproject.toml --output-file requirements.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
		--group dev --constraints requirements.txt pyproject.toml --output-file requirements-dev.txt

# Create the virtual environment if it is missing or its requirements have changed.
$(VENV)/.requirements: requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none was found. Next: install one," \
		"or name it: make demo PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing the locked requirements into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements.txt
	@touch $@

## check: run ruff, mypy and the unit tests in less than a minute, before each commit
check: $(VENV)/.requirements-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PYTEST) -q tests/unit

## one: run one test on a server that is kept between calls: make one T=tests/integration/test_reverse.py::test_name
one: $(VENV)/.requirements-dev
	@test -n "$(T)" || { echo "Name a file or a test: make one T=tests/integration/test_reverse.py" >&2; exit 1; }
	RUNBOOK_TEST_SERVER=kept $(VENV)/bin/python -m pytest -q "$(T)"

## lint: check Ansible, Python and YAML
lint: $(VENV)/.requirements-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/ansible-lint

## unit, integration, molecule: run a part of `make test`; each starts and stops its own servers
unit: $(VENV)/.requirements-dev
	$(PYTEST) tests/unit

integration: $(VENV)/.requirements-dev
	$(PYTEST) -m 'not slow' tests/integration

## slow: run whole playbooks repeatedly, and kill some; not part of `make test`
slow: $(VENV)/.requirements-dev
	$(PYTEST) -m slow tests/integration

# Remove the server whatever the scenarios return, and return their status.
molecule: $(VENV)/.requirements-dev
	@rm -rf .ansible/molecule  # an interrupted test leaves a record of a server that is gone
	$(MOLECULE) create
	@status=0; $(SIDE_BY_SIDE) $(SCENARIOS:%=scenario-%) || status=$$?; $(MOLECULE) destroy && exit $$status

## scenario-<name>: run one scenario on the server of `molecule create`
$(SCENARIOS:%=scenario-%): scenario-%:
	$(MOLECULE) test --destroy=never --scenario-name $*

## test: run everything that must pass
test: $(VENV)/.requirements-dev
	@$(SIDE_BY_SIDE) lint unit
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory molecule

## soak: run the migration while an application reads and writes; minutes, not part of `make test`
soak: $(VENV)/.requirements-dev
	$(VENV)/bin/python -m bench.soak --audio-posts $(SOAK_AUDIO_POSTS) --postgres $(POSTGRES)

$(VENV)/.requirements-dev: requirements-dev.txt $(VENV)/.requirements
	@echo "Installing the locked development requirements into $(VENV)"
	@$(VENV)/bin/python -m pip install --quiet --require-hashes --requirement requirements-dev.txt
	@touch $@

## twin: migrate, write with both applications, revert to each version, compare with an unmigrated twin
twin: $(VENV)/.requirements-dev
	TWIN_OPERATIONS=$(or $(OPERATIONS),10000) $(VENV)/bin/python -m pytest -q -s -n 0 tests/integration/plan/test_plan_twin.py

## drill: migrate, write with both applications, reverse, compare with an unmigrated twin, migrate again
drill: $(VENV)/.requirements-dev
	@$(VENV)/bin/python -m bench.drill --audio-posts $(or $(DRILL_AUDIO_POSTS),1000) --operations $(or $(OPERATIONS),300) \
		--postgres $(POSTGRES) $(if $(EACH_VERSION),--each-version)

## kills: kill a run at random moments and resume it; not part of `make test`
kills: $(VENV)/.requirements-dev
	$(VENV)/bin/python -m bench.kills --audio-posts $(or $(KILLS_AUDIO_POSTS),300000) --kills $(or $(KILLS),20)

## restores: compare both restores with plain pg_restore, with sessions open; not part of `make test`
restores: $(VENV)/.requirements-dev
	$(VENV)/bin/python -m bench.restores --audio-posts $(or $(RESTORES_AUDIO_POSTS),1000000) --postgres $(POSTGRES)

## rollback-kills: kill a reverse, both restores and a restore drill, and resume them; not part of `make test`
rollback-kills: $(VENV)/.requirements-dev
	$(VENV)/bin/python -m bench.rollback_kills --audio-posts $(or $(KILLS_AUDIO_POSTS),5000) --kills $(or $(KILLS),10)

## bench: compare our migrations with the guide's SQL, the fastest offline form and other tools; takes hours by default
SIZES ?= 100000 300000 1000000
RUNS ?= 3
MEMORY ?= default
CONTENDERS ?=
BENCH = $(VENV)/bin/python -m bench --sizes $(SIZES) --runs $(RUNS) --memory $(MEMORY) --postgres $(POSTGRES) \
	$(if $(CONTENDERS),--contenders $(CONTENDERS)) $(if $(ADD),--add) $(if $(LOCK),--lock $(LOCK))

bench: $(VENV)/.requirements-dev
	$(BENCH)

## bench-peers: install the other tools into .cache/peers (needs npm; sqitch comes from apt) and measure them and us
PEERS := .cache/peers
bench-peers: $(VENV)/.requirements-dev $(PEERS)/.installed
	$(BENCH) --contenders online peers --add

$(PEERS)/.installed:
	@mkdir -p $(PEERS)
	npm install --prefix $(PEERS) --no-audit --no-fund supabase@3.1.0 dbmate@2.36.0
	@command -v sqitch >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
		&& apt-get install --yes --quiet sqitch libdbd-pg-perl \
		|| echo "sqitch is missing and is not measured. To measure it: apt-get install sqitch libdbd-pg-perl"; }
	@touch $@

## lock-holds: hold a lock for a minute at each step that needs one; not part of `make test`
lock-holds: $(VENV)/.requirements-dev
	$(VENV)/bin/python -m bench.lock_holds
