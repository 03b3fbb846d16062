# `make help` lists the targets. All of them can be called again and again; what is done already costs little.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The runtime within the binary, and no checks of exclusive access at run time: a fifth less CPU (docs/decisions/0007).
# Debug builds, and with them all unit tests, keep the checks.
RELEASE := -c release --static-swift-stdlib -Xswiftc -enforce-exclusivity=unchecked
SWIFT_BUILD := swift build $(RELEASE) --quiet
PYTEST := .venv/bin/python -m pytest
# Kills of the server, then of backups and restores.
CRASH = .venv/bin/python Tests/Crash/crash.py --quiet --trials $(TRIALS) && \
	.venv/bin/python Tests/Crash/endings.py --trials $(TRIALS) && \
	.venv/bin/python Tests/Crash/backups.py --trials $(TRIALS)
SWIFT_SOURCES := Package.swift Sources Modules Tests
# Kills of `make crash`, seeds of the simulator in `make nightly`.
TRIALS ?= 200
SEEDS ?= 100000

.PHONY: help build build-all run test unit conversations badinputs interop bench bench-quick crash fuzz fmt lint docs \
	check nightly deps deps-test clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  make %-14s %s\n' "$$name" "$$text"; done

deps:
	@scripts/deps build

deps-test:
	@scripts/deps build test
	@scripts/test-venv

build: deps ## Build the server for release
	@$(SWIFT_BUILD) --product martlet
	@echo "Built .build/release/martlet"

build-all: deps
	@$(SWIFT_BUILD)
	@echo "Built .build/release/martlet, martlet-load, martlet-relay"

run: build ## Serve localhost from ./dev, with a certificate and two accounts made for it
	@scripts/dev

test: unit ## Run all tests
	@# These mostly wait for others.
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target badinputs conversations interop
	@echo "test: all passed"

unit: deps ## Run the unit tests
	@scripts/unit

conversations: build deps-test ## Run the scripted conversations against the release build
	@$(PYTEST) Tests/Conversations

badinputs: build deps-test ## Attack the release build over the wire
	@$(PYTEST) Tests/BadInputs

interop: build deps-test ## Have other people's clients talk to the release build
	@$(PYTEST) Tests/Interop

bench: build-all ## Measure beside a byte relay (PEERS=1: and beside ejabberd and Prosody)
	@scripts/bench/bench.py

bench-quick: build-all
	@BENCH_QUICK=1 BENCH_SECONDS=1 scripts/bench/bench.py --only chat-100,login --json .build/bench-quick.json

crash: build-all deps-test ## Kill server, backups and restores TRIALS times under load, and count what is lost or comes back
	@$(CRASH)

fuzz: deps ## Make up hostile inputs for each of Tests/Fuzz, FUZZ_SECONDS=30 long
	@scripts/fuzz

fmt: ## Format the Swift code
	@swift format --in-place --recursive --parallel $(SWIFT_SOURCES)

lint: ## Check format, length, imports
	@swift format lint --strict --recursive --parallel $(SWIFT_SOURCES)
	@scripts/lint

docs: build ## Write docs/CONFIG.md, docs/XEPS.md and conf/martlet.yml from the code
	@scripts/docs

check: deps-test ## All that a change must pass: lint, strict build, docs, test, fuzz, crash, bench
	@scripts/check

nightly: build-all deps-test ## The long runs: sanitizers, an hour of each fuzz target, SEEDS of the simulator, TRIALS kills
	@TSAN_OPTIONS=suppressions=$(CURDIR)/scripts/tsan.supp scripts/unit --sanitize=thread --scratch-path .build-tsan
	@# Servers that tests leave behind at their end are no leak; whether the real one leaks is seen over the wire.
	@ASAN_OPTIONS=detect_leaks=0 scripts/unit --sanitize=address --scratch-path .build-asan
	@SIMULATOR_SEEDS=$(SEEDS) scripts/unit -c release -Xswiftc -enable-testing --scratch-path .build-sim --filter Simulator
	@FUZZ_SECONDS=3600 scripts/fuzz
	@$(CRASH)
	@echo "nightly: all passed"

clean: ## Remove what was built
	@rm -rf .build .build-tsan .build-asan .build-sim .build-fuzz .venv
