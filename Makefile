# aiOS: `make run` boots the appliance, `make test` proves it. `make` alone lists the rest.

SHELL        := /bin/bash
.SHELLFLAGS  := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help deps web build engines image run stop test bench fuzz lint lab clean \
        gpu deny test-web test-units test-engines test-strategic test-gpu test-machine

# A newer Node.js than the distribution's, where scripts/deps.sh had to fetch one.
export PATH := $(CURDIR)/target/node/bin:$(HOME)/.cargo/bin:$(PATH)

RELEASE := target/x86_64-unknown-linux-gnu/release
# llama.cpp and candle compile into a folder of their own: no change elsewhere rebuilds them.
ENGINES := aios-engine-llama $(addprefix aios-engine-llama-,avx-vnni avx512 avx512-vnni) aios-engine-candle
ENGINE_CARGO := CARGO_TARGET_DIR=target/engines cargo
ENGINE_PACKAGES := $(addprefix -p ,$(ENGINES))

# Workers for graphics processors load drivers, so that they are not static. CUDA=1: NVIDIA's interface in the place of Vulkan.
GPU := aios-engine-llama-$(if $(CUDA),cuda,vulkan)
GPU_CARGO := CARGO_TARGET_DIR=target/gpu RUSTFLAGS="-C target-feature=-crt-static" cargo
ifdef CUDA
# The compiler's folder: CUDA_PATH, or the one that scripts/deps.sh makes.
TOOLKIT := $(or $(CUDA_PATH),$(CURDIR)/target/cuda)
GPU_CARGO := CUDA_PATH=$(TOOLKIT) CUDA_LIBRARY_PATH=$(TOOLKIT) CUDACXX=$(TOOLKIT)/bin/nvcc $(GPU_CARGO)
endif

WEB := agentd/console/web
BROWSER := tests/browser
WEB_SOURCES := $(shell find $(WEB)/src $(WEB)/public $(WEB)/scripts $(WEB)/*.* -type f)

# cargo-deny is built once for this user, not once for each checkout; unoptimised, which takes a quarter of the time.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/aios/tools
DENY_VERSION := 0.20.2

# Some tests make network namespaces: without root they are started with sudo.
ifneq ($(shell id -u),0)
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER := $(CURDIR)/scripts/test-runner.sh
endif

# make run MODEL=other.gguf PORT=9443 MEMORY=4096 FRESH=1 DETACH=1
MODEL_ARGUMENT := $(if $(MODEL),--model $(abspath $(MODEL)))
RUN_ARGUMENTS := $(MODEL_ARGUMENT) $(if $(PORT),--port $(PORT)) $(if $(MEMORY),--memory $(MEMORY)) \
                 $(if $(FRESH),--fresh) $(if $(DETACH),--detach)

help: ## Show this list
	@echo "aiOS: an appliance whose operator is software."
	@sed -nE 's/^([a-z-]+):.*## /  make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo "Start with: make run"

deps:
	@scripts/deps.sh build

$(WEB)/node_modules/.stamp: $(WEB)/package-lock.json $(WEB)/package.json | deps
	@echo "web: fetching packages"
	@cd $(WEB) && npm ci --silent --no-audit --no-fund
	@touch $@

$(WEB)/dist/index.html: $(WEB_SOURCES) $(WEB)/node_modules/.stamp
	@echo "web: building the pages"
	@cd $(WEB) && npm run --silent build
	@touch $@

web: deps $(WEB)/dist/index.html ## Build the console's pages
	$(call next,web,make build)

build: web ## Build the daemons and aiosctl
	@echo "build: programs"
	@cargo build --release --bins
	@cargo build --profile pid1 -p aios-init --bin aios-init
	$(call next,build,make image)

engines: deps ## Build the engine workers (llama.cpp and candle: minutes the first time)
	@echo "build: engine workers$(if $(wildcard target/engines/*/release/aios-engine-llama),, (llama.cpp and candle compile once; this takes minutes))"
	@$(ENGINE_CARGO) build --release $(ENGINE_PACKAGES)
	$(call next,engines,make image)

gpu: engines ## Build the engine worker for a graphics processor, which `make run` uses if it is faster (Vulkan; CUDA=1)
	@scripts/deps.sh $(if $(CUDA),cuda,vulkan)
	@echo "build: $(GPU)$(if $(wildcard target/gpu/*/release/$(GPU)),, (compiles once; this takes minutes))"
	@$(GPU_CARGO) build --release -p $(GPU)
	@ln -sf $(CURDIR)/target/gpu/x86_64-unknown-linux-gnu/release/$(GPU) target/engines/x86_64-unknown-linux-gnu/release/
	$(call next,gpu,make run)

image: build engines ## Assemble the quick image in target/image (MODEL=path.gguf for another model)
	@$(RELEASE)/aios-image build $(MODEL_ARGUMENT)
	$(call next,image,make run)

run: image ## Build what is missing, boot the appliance in QEMU and say how to log in
	@exec $(RELEASE)/aios-qemu run $(RUN_ARGUMENTS)

stop: ## Switch the appliance off that `make run` started
	@if [ -x $(RELEASE)/aios-qemu ]; then $(RELEASE)/aios-qemu stop; else echo "No machine runs."; fi

deny: deps
	@[ "$$($(TOOLS)/bin/cargo-deny --version 2>/dev/null)" = "cargo-deny $(DENY_VERSION)" ] || { \
	  echo "lint: building cargo-deny $(DENY_VERSION), once for this user"; \
	  env -C / CARGO_TARGET_DIR=$(TOOLS)/build CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug --root $(TOOLS) --version $(DENY_VERSION) cargo-deny; \
	  rm -rf $(TOOLS)/build; }
	@echo "lint: licences, bans and sources"
	@$(TOOLS)/bin/cargo-deny --log-level error check licenses bans sources

lint: web deny ## Formatting, clippy and licences: the quick part of the tests
	@echo "lint: formatting"
	@cargo fmt --all --check
	@rustfmt --check --edition 2024 tools/src/tool/*/*.rs
	@echo "lint: clippy"
	@cargo clippy --release --workspace $(addprefix --exclude ,$(ENGINES) aios-engine-llama-vulkan aios-engine-llama-cuda aios-peers) --all-targets -- -D warnings
	@$(ENGINE_CARGO) clippy --release $(ENGINE_PACKAGES) --all-targets -- -D warnings
	$(call next,lint,make test)

test-web: web
	@echo "test: pages"
	@cd $(WEB) && npm test --silent

test-units: web
	@scripts/deps.sh test
	@echo "test: units"
	@cargo test --release

test-engines: image
	@echo "test: engine workers"
	@$(ENGINE_CARGO) test --release $(ENGINE_PACKAGES)

# Apart from the suites: it builds llama.cpp's own server, which takes as long as all of them may together.
test-strategic: image ## Try the strategic tier against llama.cpp's own server, which is built once (minutes)
	@cargo test --release -p aios-engine-remote --test llama
	$(call next,test-strategic,make test)

# Apart from the suites for the same reason.
test-gpu: image ## Try the worker for graphics processors on Mesa's driver that computes on the processor (CUDA=1: on NVIDIA's card), built once (minutes)
	@scripts/deps.sh $(if $(CUDA),cuda,vulkan lavapipe)
	@$(GPU_CARGO) clippy --release -p $(GPU) --all-targets -- -D warnings
	@$(GPU_CARGO) test --release -p $(GPU) -- --test-threads=1
	$(call next,test-gpu,make test)

$(BROWSER)/node_modules/.stamp: $(BROWSER)/package-lock.json | deps
	@cd $(BROWSER) && npm ci --silent --no-audit --no-fund
	@touch $@

# The image under test has one program more, which tries what a hostile service would.
test-machine: image $(BROWSER)/node_modules/.stamp
	@scripts/deps.sh test
	@$(RELEASE)/aios-image build --out target/test-image --program $(RELEASE)/aios-hostile
	@echo "test: the booted image"
	@cargo test --release --test machine -- --test-threads=3 --nocapture

# In this order the longest waits (compilers) are shared by all that follow.
SUITES := lint image test-web test-units test-engines test-machine

test: deps ## Everything that must pass before a change is merged
	@begun=$$SECONDS; passed=0; failed=; \
	for suite in $(SUITES); do \
	  at=$$SECONDS; \
	  if $(MAKE) --no-print-directory $$suite NEXT=; then passed=$$((passed + 1)); else failed+=" $$suite"; fi; \
	  took+=", $$suite $$((SECONDS - at)) s"; \
	done; \
	echo "test: $${took#, }"; \
	echo "test: $$passed of $(words $(SUITES)) suites passed in $$(((SECONDS - begun) / 60)) minutes"; \
	if [ -n "$$failed" ]; then echo "test: failed:$$failed. Next: make <one of these>" >&2; exit 1; fi; \
	echo "Next: make run"

bench: image ## Measure side by side with peers; writes target/bench/results.json
	@scripts/deps.sh bench
	@cargo build --release --quiet -p aios-peers
	@cargo build --release --quiet -p aios-inferd --example inferd-client
	@cargo run --release --quiet -p aios-tests --bin aios-bench

fuzz: deps ## Throw hostile inputs at every parser (TARGET=gguf SECONDS=60, else each for 30 s)
	@scripts/fuzz.sh $(or $(SECONDS),30) $(TARGET)

lab: ## The chaos lab (not in this checkout yet)
	@echo "This checkout has no chaos lab yet; 'make test' breaks the booted image in the ways that exist today." >&2
	@exit 1

clean: stop ## Remove everything that was built
	@rm -rf target $(WEB)/dist $(WEB)/node_modules $(BROWSER)/node_modules
	@echo "Clean. Next: make run"

# What to do next, when this was what the person asked for.
NEXT = 1
define next
	@$(if $(and $(NEXT),$(filter $(1),$(MAKECMDGOALS))),echo "Next: $(2)",:)
endef
