# Segno. `make demo` runs the main job, `make test` passes every test; both install what is missing.
#
# One build profile (release) for demo, tests and benchmarks, in one target folder outside the clone, so that
# dependencies compile once on a machine. Every cargo command names the whole workspace: with the features that all crates
# want together, no dependency compiles twice.

SEGNO_CACHE ?= $(HOME)/.cache/segno
CARGO_TARGET_DIR ?= $(SEGNO_CACHE)/target
MINUTES ?= 60
export SEGNO_CACHE CARGO_TARGET_DIR

# On a terminal, cargo shows how far it is.
QUIET := $(shell [ -t 2 ] || echo --quiet)

OUT := $(CARGO_TARGET_DIR)/segno-out
export SEGNO_COMPONENTS := $(OUT)/components
export SEGNO_BIN := $(OUT)/segno
export SEGNO_TESTING_BIN := $(OUT)/segno-testing
export SEGNO_CHECKER_BIN := $(OUT)/segno-checker
export SEGNO_GUESTS := $(OUT)/modules
export SEGNO_SERVERS := $(SEGNO_CACHE)/servers
export FLIGHTS_DATA := $(SEGNO_CACHE)/flights
export SEGNO_COMPONENTIZE_PY ?= $(SEGNO_CACHE)/componentize-py/bin/componentize-py
export SEGNO_COMPONENTIZE_JS ?= $(SEGNO_CACHE)/componentize-js

SERVERS := scripts/servers/servers.py

.PHONY: help setup servers services services-down build components data testing demo demo-kafka test bench load bench-kafka bench-transactions bench-nexmark bench-burst torture clean

help:
	@sed -n 's/^## //p' Makefile

## make setup            install what is missing on this machine
setup:
	@scripts/setup.sh

servers: setup
	@scripts/servers/install.sh

## make services         Kafka, an S3 server and PostgreSQL on free local ports, to play with; make services-down ends them
services: servers
	@$(SERVERS) up $(SEGNO_SERVERS)/running --kafka 1 --s3 --postgres

services-down:
	@$(SERVERS) down $(SEGNO_SERVERS)/running

## make build            the segno command and the first-party plugins
build: setup
	@mkdir -p $(OUT)
	@[ -e $(SEGNO_BIN) ] || echo "building segno: 10 to 40 minutes, the first time on a machine"
	@cargo build --release $(QUIET) --workspace --lib --bins --example componentize --example write_nexmark
	@cmp -s $(CARGO_TARGET_DIR)/release/segno $(SEGNO_BIN) || install $(CARGO_TARGET_DIR)/release/segno $(SEGNO_BIN)
	@cmp -s $(CARGO_TARGET_DIR)/release/segno-checker $(SEGNO_CHECKER_BIN) || install $(CARGO_TARGET_DIR)/release/segno-checker $(SEGNO_CHECKER_BIN)
	@$(MAKE) --no-print-directory components

components:
	@scripts/build-guests.sh
	@$(CARGO_TARGET_DIR)/release/examples/componentize $(SEGNO_COMPONENTS) $(SEGNO_GUESTS)/*.wasm
	@scripts/build-languages.sh

data: build
	@[ -s $(FLIGHTS_DATA)/flights.parquet ] || $(CARGO_TARGET_DIR)/release/flights-prepare $(SEGNO_CACHE)/vega-datasets/data $(FLIGHTS_DATA)

testing: data
	@cargo build --release $(QUIET) --workspace --features segno/testing --bin segno
	@install $(CARGO_TARGET_DIR)/release/segno $(SEGNO_TESTING_BIN)

## make demo             US flights through three plugins, two kills, a replay that proves itself
demo: data
	@examples/flights/demo.sh

## make demo-kafka       payments through Kafka, S3 and PostgreSQL, with two kills and a broker restart, checked and replayed
demo-kafka: build servers
	@$(SERVERS) run --kafka 1 --s3 --postgres -- examples/payments/demo.sh

## make test             every test, with the time of each suite
test: testing servers
	@$(SERVERS) run --kafka 1 --s3 --postgres -- scripts/test.py

## make bench            measure; writes ratios side by side
bench: data
	@bench/run.sh

load:
	@cargo build --release $(QUIET) --workspace --example load

## make bench-kafka      Kafka to Kafka beside Kafka Streams: CPU, rate, latency (about five minutes)
bench-kafka: build load servers
	@$(SERVERS) run --kafka 1 -- bench/kafka/run.py

## make bench-transactions  What the Kafka sink's transactions cost (about five minutes)
bench-transactions: testing load servers
	@$(SERVERS) run --kafka 1 -- bench/kafka/run.py 2000000 7 transactions

## make bench-nexmark    Nexmark beside Apache Flink, and each query's plugins in the sandbox beside native (about fifteen minutes)
bench-nexmark: build
	@bench/nexmark/run.py
	@taskset -c 0 $(CARGO_TARGET_DIR)/release/segno-bench nexmark

## make bench-burst      A million windows that end at one instant: pauses of output, memory (about three minutes)
bench-burst: build
	@bench/burst.py

## make torture MINUTES=60   a million seeds of the simulation, then long versions of the fault tests; adds up its counts
torture: testing servers
	@SEGNO_SIMULATION_SEEDS=1000000 scripts/test.py segno-simulation -- --nocapture no_seed_goes_wrong
	@SEGNO_TORTURE_MINUTES=$(MINUTES) $(SERVERS) run --kafka 1 --s3 --postgres -- scripts/test.py segno-faults -- --ignored --nocapture torture
	@SEGNO_TORTURE_MINUTES=$(MINUTES) $(SERVERS) run --kafka 1 -- scripts/test.py segno-kafka -- --ignored --nocapture torture

## make clean            forget what was built from this clone
clean:
	@rm -rf $(OUT)
