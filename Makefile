# `make test` is all that has to pass; `make demo` shows the whole at work. Everything else is a part of these.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build agent test check-style test-search demo demo-down engine tools clean

CARGO ?= cargo

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

tools: ## see that compiler, git and Rust are there (as root on Debian: install what is missing)
	@scripts/ensure-tools

engine: tools ## find a Docker engine, or start one (as root on Debian: install it)
	@scripts/ensure-engine

build: tools ## build the binary: target/release/ringfence
	$(CARGO) build --locked --release --package ringfence

agent: tools ## build the example agent: target/agent/agent
	@scripts/build-agent >/dev/null

check-style: tools
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --quiet

# The integration tests fail, not skip, without an engine: so it comes first. Doc tests are part of `cargo test`.
test: check-style engine agent ## format, lints, docs and every test, with a real engine
	$(CARGO) test --locked --workspace

test-search: tools ## the longer search over the replacement's next call
	RINGFENCE_SEARCH_DEPTH=6 $(CARGO) test --locked --lib search -- --nocapture

# Built as `make test` builds it: on two cores from nothing that takes about half as long as a release build, and the
# demo waits for health checks, not for the processor.
demo: tools agent engine ## the main job on a scratch fleet, told in plain words
	$(CARGO) build --locked --package ringfence
	@scripts/demo

demo-down: ## remove what the demo left running
	@scripts/demo-down

clean: ## remove what was built
	$(CARGO) clean
