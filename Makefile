# aiOS: `make run` boots the appliance, `make test` proves it. `make help` lists the rest.

SHELL        := /bin/bash
.SHELLFLAGS  := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps web build engines image run stop test lint deny test-web test-units test-engines test-machine bench lab clean

export PATH := $(CURDIR)/target/node/bin:$(HOME)/.cargo/bin:$(PATH)

RELEASE := target/x86_64-unknown-linux-gnu/release
# llama.cpp and candle compile into a folder of their own: no change elsewhere rebuilds them.
ENGINES := aios-engine-llama aios-engine-candle
ENGINE_CARGO := CARGO_TARGET_DIR=target/engines cargo
ENGINE_PACKAGES := $(addprefix -p ,$(ENGINES))
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aios/tools
DENY_VERSION := 0.20.2
MODEL_ARGUMENT := $(if $(MODEL),--model $(abspath $(MODEL)),)

help: ## Show this list
	@echo "aiOS: an appliance whose operator is software."
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18
	@echo "Start with: make run"

deps:
	@scripts/deps.sh build run

web: deps ## Build the console's pages
	@cd agentd/console/web && \
	if [ ! -e node_modules/.stamp ] || [ package-lock.json -nt node_modules/.stamp ]; then \
	  echo "web: installing packages"; npm ci --silent --no-audit --no-fund; touch node_modules/.stamp; fi && \
	if [ ! -e dist/index.html ] || [ -n "$$(find src index.html package.json vite.config.ts scripts -newer dist/index.html -type f -print -quit 2>/dev/null)" ]; then \
	  echo "web: building the pages"; npm run --silent build; touch dist/index.html; fi

build: web ## Build the daemons and aiosctl
	@echo "build: programs"
	@cargo build --release --bins

engines: deps ## Build the engine workers (llama.cpp, candle; minutes the first time)
	@[ -e target/engines/$(notdir $(RELEASE))/.built ] || echo "engines: llama.cpp and candle compile once, which takes minutes"
	@$(ENGINE_CARGO) build --release $(ENGINE_PACKAGES)

image: build engines ## Assemble the quick image in target/image
	@$(RELEASE)/aios-image build $(MODEL_ARGUMENT)
	@[ -n "$(QUIET)" ] || echo "Next: make run"

run: QUIET := 1
run: image ## Build what is missing, boot the appliance in QEMU and say how to log in
	@exec $(RELEASE)/aios-qemu run $(MODEL_ARGUMENT)

stop: ## Switch the appliance off that `make run` started
	@if [ -x $(RELEASE)/aios-qemu ]; then $(RELEASE)/aios-qemu stop; else echo "No machine runs."; fi

lint: web deny ## Formatting, clippy and licences
	@echo "lint: formatting"
	@cargo fmt --all --check
	@echo "lint: clippy"
	@cargo clippy --release --all-targets -- -D warnings
	@$(ENGINE_CARGO) clippy --release $(ENGINE_PACKAGES) --all-targets -- -D warnings

deny: deps
	@[ "$$($(TOOLS)/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny $(DENY_VERSION)" ] || { \
	  echo "lint: building cargo-deny $(DENY_VERSION) once for this user (minutes)"; \
	  env -C / CARGO_TARGET_DIR=$(TOOLS)/build cargo install --quiet --locked --root $(TOOLS) --version $(DENY_VERSION) --no-default-features cargo-deny; \
	  rm -rf $(TOOLS)/build; }
	@echo "lint: licences and sources"
	@$(TOOLS)/bin/cargo-deny --log-level error check licenses bans sources

test-web: web
	@echo "test: pages"
	@cd agentd/console/web && npm test --silent

test-units: web
	@echo "test: units"
	@cargo test --release --workspace $(addprefix --exclude ,$(ENGINES)) --exclude aios-tests

test-engines: image
	@echo "test: engines"
	@$(ENGINE_CARGO) test --release $(ENGINE_PACKAGES)

test-machine: QUIET := 1
test-machine: image
	@scripts/deps.sh test
	@cd tests/browser && if [ ! -e node_modules/.stamp ]; then npm ci --silent --no-audit --no-fund; touch node_modules/.stamp; fi
	@echo "test: the booted image"
	@cargo test --release -p aios-tests -- --test-threads=1 --nocapture

test: QUIET := 1
test: lint image test-web test-units test-engines test-machine ## Everything that must pass before a change is merged
	@echo "All tests passed. Next: make run"

bench: QUIET := 1
bench: image ## Measure side by side with peers; writes target/bench/results.json
	@scripts/deps.sh bench
	@cargo run --release --quiet -p aios-tests --bin aios-bench

lab: ## The chaos lab: not in this checkout yet
	@echo "There is no chaos lab in this checkout yet; make test breaks the booted image in the ways that exist today." >&2; exit 1

clean: ## Remove everything that was built
	@rm -rf target agentd/console/web/dist agentd/console/web/node_modules tests/browser/node_modules
	@echo "Clean. Next: make run"
