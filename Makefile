# Everything that a developer types. `make` prints this list.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Set on the command line or here, never taken from the caller: .venv in the checkout is the environment of all.
VENV := .venv
PYTHON := $(VENV)/bin/python
# Made by `make binaries`, of the pinned libraries that are in the programs.
OF_BINARIES := build/binaries/venv/bin/python
SUITE := bookworm
# A process for each core, and all tests of a file in one of them: they share what is costly to make. The longest first.
IN_PARALLEL := --numprocesses=auto --dist=loadfile --no-loadscope-reorder -p tests.support.by_file
PACKAGES := dbcalm dbcalm_cmd dbcalm_cmd_client dbcalm_mariadb_cmd dbcalm_mariadb_cmd_client
# Where the libraries were found is the machine's business: the lock files name none of it.
LOCK := $(VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' --no-emit-index-url --no-emit-find-links

.PHONY: help
help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: install ## back up, change, destroy and restore a private MariaDB through the API
	@dev/demo

.PHONY: test
test: install tools strangers ## all tests, those with real services too; it says how long it takes
	@$(PYTHON) -m pytest $(IN_PARALLEL) --ignore=tests/binaries --ignore=tests/packages

.PHONY: e2e
e2e: install judges deb ## the package on a Debian that is booted in a container; SUITE=trixie for that one (root)
	@SUITE=$(SUITE) $(PYTHON) -m pytest -m e2e tests/e2e

.PHONY: e2e-clean
e2e-clean: ## remove the systems that `make e2e` keeps
	rm -rf /var/tmp/dbcalm-e2e-cache

.PHONY: check
check: lint tools ## format, lint, types, import contracts, the quick unit tests and those of the docs (some minutes)
	@$(PYTHON) -m pytest $(IN_PARALLEL) --ignore=tests/integration --ignore=tests/binaries --ignore=tests/packages \
		--ignore=tests/e2e -m "not slow"

# Side by side, on other cores; each judge's output stands together, and each speaks even where another has failed.
.PHONY: lint
lint: install ## format, lint, strict types, import contracts
	@$(MAKE) --silent --no-print-directory --keep-going --jobs --output-sync=target lint-format lint-style lint-types lint-imports

.PHONY: lint-format lint-style lint-types lint-imports
lint-format:
	@$(PYTHON) -m ruff format --check --quiet . || { echo 'make format puts this right' >&2; exit 1; }
lint-style:
	@$(PYTHON) -m ruff check --quiet .
lint-types:
	@$(PYTHON) -m mypy --no-error-summary
lint-imports:
	@output=$$($(VENV)/bin/lint-imports --no-logo) || { echo "$$output"; exit 1; }

.PHONY: format
format: install ## format the code and sort its imports
	@$(PYTHON) -m ruff check --fix --select I --quiet .
	@$(PYTHON) -m ruff format .

.PHONY: bench
bench: install ## measure speed and size, side by side with the raw backup tool
	@dev/bench

.PHONY: binaries
binaries: builders ## build the three programs, which need no Python of the host, into dist/production
	@packaging/binaries

.PHONY: test-binaries
test-binaries: install tools binaries ## build the programs and test them as built, twice the same bytes too
	@$(PYTHON) -m pytest tests/binaries

.PHONY: deb
deb: binaries packagers ## make the package for Debian, dist/dbcalm_*.deb
	@$(OF_BINARIES) -m dev.package_lib deb

.PHONY: rpm
rpm: binaries packagers ## make the package for Enterprise Linux, dist/dbcalm-*.rpm
	@$(OF_BINARIES) -m dev.package_lib rpm

.PHONY: test-packages
test-packages: test-binaries judges deb rpm ## the same, then make both packages and test them (the scripts as root)
	@$(PYTHON) -m pytest tests/packages

.PHONY: dev-install
dev-install: install ## prepare this host for `make dev`: users, folders, certificate, keys (root)
	@$(PYTHON) -m dev.host install

.PHONY: dev
dev: install ## run the three services as their users, restarted when the code changes (root)
	@$(PYTHON) -m dev.host run

.PHONY: audit
audit: install ## what the root service loads, and how many lines it has
	@$(PYTHON) -m dev.audit

.PHONY: man
man: install ## write the manual pages into build/man, made from the commands and the keys
	@$(PYTHON) -m dev.man build/man

.PHONY: lock
lock: install ## choose library versions anew and pin them with their hashes
	@$(LOCK) --upgrade --output-file requirements.txt
	@$(LOCK) --upgrade --group dev --constraint requirements.txt --output-file requirements-dev.txt
	@$(subst pyproject.toml,dev/openapi/requirements.in,$(LOCK)) --upgrade --output-file dev/openapi/requirements.txt

.PHONY: hooks
hooks: ## let git run `make check` before every commit
	@mkdir -p "$$(git rev-parse --git-path hooks)"
	@ln -sf "$$(pwd)/hooks/pre-commit" "$$(git rev-parse --git-path hooks)/pre-commit"

.PHONY: clean
clean: ## remove what can be made again
	rm -rf $(VENV) .venv.lock build dist .*_cache .hypothesis .schemathesis
	find $(PACKAGES) dev tests -name __pycache__ -prune -exec rm -rf {} +

# The packages of the system are looked at each time, which costs milliseconds; .venv follows the lock file.
.PHONY: install
install: $(VENV)/.installed

$(VENV)/.installed: requirements-dev.txt | packages
	@dev/prepare venv

.PHONY: packages tools builders packagers judges strangers
packages tools builders packagers judges strangers:
	@dev/prepare $@
