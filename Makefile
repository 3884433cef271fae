# Two targets do everything on a fresh machine: `make demo` and `make test`.
# What they install is kept by version in $(CACHE), outside the checkout.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CACHE ?= $(or $(AGENTRUN_CACHE),$(HOME)/.cache/agentrun)
PYTHON ?= python3
VENV := $(CACHE)/venv-$(shell cat requirements-dev.txt dev/bootstrap.sh | sha256sum | cut -c1-12)
BIN := $(VENV)/bin
export AGENTRUN_CACHE := $(CACHE)
export PATH := $(CACHE)/bin:$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)/operator:$(CURDIR)
# Or the tests are compiled, and their assertions rewritten, each time anew.
unexport PYTHONDONTWRITEBYTECODE

SOURCES := operator mcp_server dev tests

.PHONY: help
help: ## Say what the targets do.
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Its name says what is in it, so it is never out of date; only absent.
$(BIN)/.ready:
	@PYTHON=$(PYTHON) dev/bootstrap.sh $(VENV)

.PHONY: demo
demo: $(BIN)/.ready ## The main job: a cluster, the chart, real agents, a cancelled run.
	@python -m dev demo

.PHONY: test
test: $(BIN)/.ready ## Everything CI runs, its stages side by side.
	@dev/test.sh "cluster-2 disruptive releases down-2 lint unit contract cluster-1 e2e apiserver" rights

.PHONY: test-full
test-full: $(BIN)/.ready ## What takes too long for each time: full-size volume, more races, the slower agents.
	@dev/test.sh "cluster-1 full"
	@python -m dev.full record

.PHONY: lint
lint: $(BIN)/.ready ## Format, lint, types, import rules, generated files.
	@echo "== lint and types"
	@ruff format --check --quiet --cache-dir $(CACHE)/ruff $(SOURCES)
	@ruff check --quiet --cache-dir $(CACHE)/ruff $(SOURCES)
	@mypy --cache-dir $(CACHE)/mypy $(SOURCES:operator=operator/agentrun)
	@lint-imports --no-cache | tail -n 2
	@python -m dev check-kind-config

# Neighbours of a file are its like: each worker gets a stretch of them, and so starts less that
# tests share. Who is done takes from the others.
WORKERS ?= $(shell nproc)
PYTEST := pytest -q -n $(WORKERS) --dist worksteal

.PHONY: test-unit
test-unit: $(BIN)/.ready ## What needs no cluster and no database.
	@echo "== unit"
	@$(PYTEST) -m "not full" tests/unit

.PHONY: test-quick
test-quick: $(BIN)/.ready ## Before each commit: lint, types, and the unit tests that are quick.
	@$(MAKE) --jobs=2 --output-sync=target --keep-going lint quick-tests

.PHONY: quick-tests
quick-tests: $(BIN)/.ready
	@echo "== quick unit tests"
	@$(PYTEST) -m "not slow" tests/unit

.PHONY: test-contract
test-contract: $(BIN)/.ready ## What the stores promise, on every store.
	@echo "== contract"
	@$(PYTEST) tests/contract

# The stages of dev/test.sh, which says which of them run side by side. Two clusters: on the first,
# tests run side by side; on the second, those that disturb others, or a release of their own.
STAGES := lint unit contract images cluster-1 cluster-2 apiserver e2e disruptive releases down-2 rights full
STAGE = python -m dev.stages run $(@:stage-%=%)
ON_1 = python -m dev --name agentrun-test run --
ON_2 = python -m dev --name agentrun-test-2 run --
# dev/stages.py says why; a test that repairs the cluster keeps it so.
stage-cluster-1 stage-cluster-2 stage-disruptive stage-releases: export AGENTRUN_CLUSTER_WEIGHT := 16
# They mostly wait, so there are more of them than cores.
E2E_WORKERS ?= 3

.PHONY: $(STAGES:%=stage-%)
stage-lint:
	@$(STAGE) $(MAKE) lint
# What follows a stage only so as not to run beside it does so, too, when that has failed.
stage-unit:
	-@$(STAGE) $(MAKE) test-unit
stage-contract: stage-unit
	-@$(STAGE) $(MAKE) test-contract
stage-images:
	@$(STAGE) python -m dev images --prepare all
stage-cluster-1: stage-images
	@$(STAGE) dev/test-cluster.sh agentrun-test operator mcp-server runner dev agent agent-more agent-other
stage-cluster-2: stage-images
	@$(STAGE) dev/test-cluster.sh agentrun-test-2 operator mcp-server runner dev stores skewed
stage-apiserver: stage-cluster-1 stage-contract
	-@$(STAGE) $(ON_1) pytest -q -m "not full" tests/apiserver
stage-e2e: stage-cluster-1 stage-unit
	@$(STAGE) $(ON_1) pytest -q -n $(E2E_WORKERS) --dist loadgroup -m "not disruptive and not own_release and not full" tests/e2e
stage-disruptive: stage-cluster-2
	-@$(STAGE) $(ON_2) pytest -q -m "disruptive and not full" tests/e2e
stage-releases: stage-cluster-2
	-@$(STAGE) $(ON_2) pytest -q -m "own_release and not full" tests/e2e
# A cluster costs a tenth of a core also when nothing runs there.
stage-down-2: stage-disruptive stage-releases
	@$(STAGE) python -m dev --name agentrun-test-2 down --logs $(AGENTRUN_RESULTS)/agentrun-test-2
stage-rights:
	@AGENTRUN_AUDITED=$(AGENTRUN_RESULTS)/agentrun-test-2 $(STAGE) $(ON_1) pytest -q tests/rights
stage-full: stage-cluster-1
	@$(STAGE) $(ON_1) pytest -q -n $(E2E_WORKERS) --dist loadgroup -m full tests/e2e tests/apiserver tests/unit

.PHONY: cluster
cluster: $(BIN)/.ready ## The cluster of the tests, to run some of them on; it stays until `make clean`.
	@dev/test-cluster.sh agentrun-test all

.PHONY: test-some
test-some: $(BIN)/.ready ## Run T=... (as pytest is told) on the cluster that `make cluster` keeps up.
	@$(ON_1) pytest $(T)

.PHONY: format
format: $(BIN)/.ready ## Put the code into the project's format.
	@ruff check --fix --quiet $(SOURCES) || true
	@ruff format --quiet $(SOURCES)

.PHONY: generate
generate: $(BIN)/.ready ## Make the CRDs again from the models, the generated pages in docs, and dev/modules.txt.
	@python -m agentrun.api.crd crds charts/agentrun/files/crds
	@python -m dev.chart_schema charts/agentrun/values.schema.json
	@python -m dev.failures docs/failures.md
	@python -m dev.rights docs/security.md
	@python -m dev.tool_page docs/tools.md
	@python -m dev.command_line docs/cli.md
	@python -m dev.modules dev/modules.txt

.PHONY: lock
lock: $(BIN)/.ready ## Choose the newest dependencies and pin them by hash.
	@for part in operator server runner; do \
	  uv pip compile --quiet --upgrade pyproject.toml --extra $$part $(LOCK_FLAGS) -o requirements-$$part.txt; done
	@uv pip compile --quiet --upgrade pyproject.toml --all-extras --group dev $(LOCK_FLAGS) -o requirements-dev.txt
	@uv pip compile --quiet --group stores -c requirements-dev.txt $(LOCK_FLAGS) -o images/stores/requirements.txt
	@uv pip compile --quiet --group remote -c requirements-dev.txt $(LOCK_FLAGS) -o images/dev/requirements.txt
LOCK_FLAGS := --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

.PHONY: clean
clean: ## Take the clusters down and remove what was cached.
	@python3 -m dev down
	@AGENTRUN_CLUSTER=agentrun-test python3 -m dev down
	@rm -rf $(CACHE)
