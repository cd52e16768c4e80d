# `make test` is all that has to pass; `make demo` shows the whole at work. Everything else is a part of these.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build agent test check-style test-search test-engines bench demo demo-down engine tools clean fuzz mutants

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
# Some faults only root can bring about (a full disk, an engine that is killed): those tests stand in modules `as_root`.
test: check-style engine agent ## format, lints, docs and every test, with a real engine
ifeq ($(shell id -u),0)
	$(CARGO) test --locked --workspace
else
	@echo 'not root: the tests in `as_root` are left out (full and read-only disks, an engine that stops and dies, a reboot);' \
		'`sudo make test` runs them too' >&2
	$(CARGO) test --locked --workspace -- --skip as_root::
endif

# Optimised, and one after the other: the longest takes about 10 GiB.
test-search: tools ## the longer searches over the replacement's next call and over `decide` (half an hour, 10 GiB)
	RINGFENCE_SEARCH=long $(CARGO) test --locked --lib --config profile.test.opt-level=2 \
		-- plan::replace::search::every_order decide::tests::search --nocapture --test-threads 1

test-engines: tools agent ## what we take for granted of engines, against a newer one beside this (root, Debian)
	@scripts/test-engines

# Ratios count, not seconds: everything is measured in one run. Name a compose that is not on the PATH in
# RINGFENCE_BENCH_COMPOSE. The figures go into docs/performance.md.
BENCH ?= --write
bench: tools agent engine ## measure: the pure rooms, and the whole beside docker compose and the engine (25 minutes)
	$(CARGO) bench --locked --bench rooms -- $(BENCH)
	$(CARGO) bench --locked --bench whole -- $(BENCH)

fuzz: tools ## every parser on random input, a minute each (needs cargo-fuzz)
	@scripts/fuzz

mutants: tools ## which changes of `decide` its tests do not notice (five minutes)
	@scripts/mutants

# Built as `make test` builds it: on two cores from nothing that takes about half as long as a release build, and the
# demo waits for health checks, not for the processor.
demo: tools agent engine ## the main job on a scratch fleet, told in plain words
	$(CARGO) build --locked --package ringfence
	@scripts/demo

demo-down: ## remove what the demo left running
	@scripts/demo-down

clean: ## remove what was built
	$(CARGO) clean
