# `make help` says what there is. Everything is installed into .venv; system packages are named before they are installed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install environment demo test unit integration lab-test test-packages lint bench faults soak apps vm-test lab-up lab-down clean

BIN := .venv/bin
# Tests in several processes, file by file. On the hosts each process has a lab of its own; LABS=0 means the one that is up.
LABS ?= 2
SPREAD := --dist loadfile -n
# Files in the order that tests/lab/conftest.py gives them, not those with the most tests first
IN_ORDER := --no-loadscope-reorder
# yamllint and ansible-lint look for their companions in PATH
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install: ## Install the command, what it needs, and the system packages that are missing (root)
	@bin/install

environment: # the virtual environment alone: enough for unit tests and lint, and needs no root
	@bin/install --unprivileged

demo: install ## Watch running containers hop between Docker hosts without losing a connection (root)
	@$(BIN)/relocate demo

test: install test-packages unit integration lab-test ## All tests: unit tests, the kernel's, then end to end on labs' hosts (root)

test-packages: # the programs that tests use: installed if they are missing, and named
	@tests/install-packages

unit: environment ## Unit tests: minutes, no root
	$(BIN)/pytest $(SPREAD) auto tests/unit

integration: environment ## Tests against this machine's kernel, in namespaces of their own: minutes (root)
	$(BIN)/pytest tests/integration

lab-test: install ## Tests on real Docker hosts, in two labs at a time (root)
	$(BIN)/pytest $(SPREAD) $(LABS) $(IN_ORDER) tests/lab

lint: environment ## Style, types, Ansible's production profile, and ansible-test sanity
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src collections/ansible_collections/relocate/mtd/plugins collections/ansible_collections/relocate/mtd/proxy roles inventories
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint
	.ci/sanity

bench: install test-packages ## Figures of this machine, into build/bench (root)
	@for bench in tests/bench/bench_*.py; do echo "== $$bench"; $(BIN)/python "$$bench"; done

faults: install ## Every failure at every state, on the lab's hosts: OPTIONS="--sample 40 --seed 1", or hours (root)
	$(BIN)/python tests/soak/faults.py $(OPTIONS)

soak: install test-packages ## The long tests: a hundred hops, hours of a fleet, drains (root; hours)
	$(BIN)/relocate lab up
	$(BIN)/pytest -s tests/soak

apps: install ## Real applications under load: redis, PostgreSQL, nginx … (root; half an hour): OPTIONS="--only redis"
	$(BIN)/python -u tests/apps/run.py $(OPTIONS)

vm-test: install ## Pre-copy under a kernel that tracks written memory, in a virtual machine (root; minutes)
	$(BIN)/relocate lab up
	tests/vm/pre-copy-test

lab-up: install ## Bring the lab up, or heal it (root)
	@$(BIN)/relocate lab up

lab-down: install ## Take the lab down; the cache stays (root)
	@$(BIN)/relocate lab down

clean: ## Remove what make has made in this directory
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
