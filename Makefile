# Parley's commands; `make help` lists them. Everything is installed into .venv from the lock files, with hashes.
.DEFAULT_GOAL := help
.SILENT:
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Parley's own servers are on this machine, also where the rest is behind a proxy.
export no_proxy := 127.0.0.1,::1,localhost,$(no_proxy)
export NO_PROXY := 127.0.0.1,::1,localhost,$(NO_PROXY)
unexport PYTHONHOME PYTHONPATH PYTHONSTARTUP

.PHONY: help
help: ## List what make can do
	awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

# Looked at each time: what is missing or broken is made anew. The files change when something was installed.
$(VENV)/.runtime: FORCE
	scripts/environment.sh $(VENV) runtime "$(PYTHON)" $(if $(filter file,$(origin PYTHON)),,given)

$(VENV)/.dev: FORCE $(VENV)/.runtime
	scripts/environment.sh $(VENV) dev "$(PYTHON)" $(if $(filter file,$(origin PYTHON)),,given)

FORCE:

##@ Use

.PHONY: run
run: $(VENV)/.runtime ## Start the server, with an embedded PostgreSQL and Valkey (Ctrl-C stops it)
	exec $(BIN)/parley serve

.PHONY: services
services: $(VENV)/.runtime ## Show two services, in Python and Go, that share work through a conversation
	exec $(BIN)/python clients/examples/services/run.py

.PHONY: replay
replay: $(VENV)/.runtime ## Replay IRC logs as chats and compare: make replay FILES="a.txt b.txt" [ARGS="--unordered"]
	$(BIN)/python -m bench.replay $(ARGS) $(FILES)

.PHONY: clean
clean: ## Remove the virtual environment, what was built, and caches (data stays)
	rm -rf $(VENV) build dist clients/typescript/node_modules clients/typescript/dist clients/*/target .pytest_cache .mypy_cache .ruff_cache .hypothesis

##@ Develop

.PHONY: setup
setup: $(VENV)/.dev ## Install all that development needs, and what `git commit` checks
	$(BIN)/pre-commit install

.PHONY: format
format: $(VENV)/.dev ## Format the code and the contract
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	scripts/googleapis.sh
	$(BIN)/buf format -w proto

.PHONY: generate
generate: $(VENV)/.dev ## Generate the stubs in clients/ from proto/
	scripts/generate.sh

.PHONY: lock
lock: $(VENV)/.dev ## Write the lock files anew from pyproject.toml
	scripts/lock.sh

.PHONY: mutants
mutants: $(VENV)/.dev ## Change the code in small ways and see whether tests notice, an hour: make mutants [ROOMS=service/domain]
	$(BIN)/python -m tests.mutants.run $(if $(ROOMS),--rooms $(ROOMS))

.PHONY: lint
lint: $(VENV)/.dev ## Run the linters, the type checker and the layer check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: lint-proto
lint-proto: $(VENV)/.dev ## Check the contract: lint, format, breaking changes, stubs up to date
	scripts/check_contract.sh

##@ Test

.PHONY: test-fast
test-fast: $(VENV)/.dev ## Run the tests of rules, conversions, settings, logins and streams' parts, in less than a minute
	$(BIN)/pytest -q -n 2 --dist loadfile tests/domain tests/convert tests/settings tests/auth tests/proto tests/host \
	  tests/delivery/test_session.py tests/delivery/test_window.py tests/delivery/test_channel.py \
	  tests/delivery/test_history.py tests/delivery/test_bus_messages.py tests/storage/test_urls.py \
	  tests/storage/test_target.py tests/docs/test_repository.py

.PHONY: test
test: $(VENV)/.dev ## Run all tests, some 8 minutes, against a real PostgreSQL and Valkey that they start
	$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder

.PHONY: test-services
test-services: $(VENV)/.dev ## Test with other people's servers, PostgreSQL 15 to Envoy, 7 minutes; installs them, as root
	scripts/service_tools.sh
	CI=true $(BIN)/pytest -q -m services tests/services

.PHONY: test-services-short
test-services-short: $(VENV)/.dev ## Test a part of that, in two minutes; left out where they can't be installed
	scripts/service_tools.sh || test -z "$$CI"
	$(BIN)/pytest -q -m "services and short" tests/services

.PHONY: test-image
test-image: $(VENV)/.dev ## Build the image of the Dockerfile and run it, some minutes; installs buildah, as root
	scripts/service_tools.sh
	CI=true $(BIN)/pytest -q -m services tests/services/test_image.py

.PHONY: test-newcomer
test-newcomer: $(VENV)/.dev ## Run make run as on a new machine, in a Debian of its own; installs debootstrap, as root
	scripts/service_tools.sh
	CI=true $(BIN)/pytest -q -m services tests/services/test_newcomer.py

.PHONY: test-pythons
test-pythons: $(VENV)/.dev ## Run the tests that lean on Python itself on every other Python that is installed here
	scripts/other_pythons.sh

.PHONY: conformance
conformance: $(VENV)/.dev ## Hold the clients of all languages to the contract: make conformance [LANGUAGE="go java"]
	$(BIN)/python -m conformance $(LANGUAGE)

.PHONY: conformance-quick
conformance-quick: $(VENV)/.dev ## The same for the languages that are built soon, and for the last release's client
	$(BIN)/python -m conformance --quick
	$(BIN)/python -m conformance --release

.PHONY: faults
faults: $(VENV)/.dev ## Break everything in the middle of traffic, 24 minutes, and check what clients saw: make faults [SEED=1]
	FAULTS_SEED=$(SEED) FAULTS_RESULTS=build/faults $(BIN)/pytest -q -m "matrix or not matrix" tests/faults

.PHONY: check
check: lint lint-proto test-services-short test-pythons test bench-quick conformance-quick ## All that CI runs

##@ Measure

.PHONY: bench
bench: $(VENV)/.dev ## Measure everything, some 11 minutes, and write the figures to docs/performance
	$(BIN)/python -m bench.suite

.PHONY: bench-quick
bench-quick: $(VENV)/.dev ## Run each scenario of the load generator for a moment, and check what is delivered
	$(BIN)/python -m bench.suite quick

.PHONY: bench-large
bench-large: $(VENV)/.dev ## Measure with ten million messages stored, 5 minutes, 6 GB of disk for a while
	$(BIN)/python -m bench.suite large

.PHONY: measure
measure: $(VENV)/.dev ## Measure large sizes, some minutes: make measure [WHAT="bus connect hot senders"]
	$(BIN)/python -m tests.measure $(WHAT)

.PHONY: conformance-figures
conformance-figures: $(VENV)/.dev ## Print what each client weighs and how fast it sends, for docs/clients.md
	$(BIN)/python -m conformance.figures $(LANGUAGE)

.PHONY: faults-table
faults-table: $(VENV)/.dev ## Print the tables of docs/reliability.md from all runs of make faults that are in build/faults
	$(BIN)/python -m tests.faults.table build/faults/*.json
