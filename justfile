# Everything one does with this project. `./justw` runs it where `just` is not installed.

set shell := ["bash", "-euo", "pipefail", "-c"]

root := justfile_directory()
# CI refuses a Cargo.lock that does not fit; at one's desk cargo brings it up to date.
locked := if env("CI", "") == "" { "" } else { "--locked" }
just := quote(just_executable()) + " --justfile " + quote(justfile())

# What setup fetched comes before what the machine has.
export PATH := root / ".tools/envoy" + ":" + root / ".tools/bin" + ":" + env("PATH")

# List the recipes
[private]
default:
    @{{ just }} --list --unsorted

# Fetch what building and running needs (quick when it is there)
setup:
    @scripts/setup.sh run

# Build the filter and the mercator command
build: setup filter
    cargo build {{ locked }} -p mercator

# Start one instance and stay in the foreground: traffic on :8080, admin on :8081
[no-exit-message]
up *args: build
    @exec scripts/mercator.sh run --quickstart {{ args }}

# Start one instance, make three calls, show what happened, stop
demo *args: build
    @exec scripts/mercator.sh demo {{ args }}

# All tests: unit, then end to end through a running Envoy
test: test-setup filter probe
    @scripts/test.sh

# Tests that need no other program than git
unit *args:
    cargo test {{ locked }} {{ args }}

# Cargo builds a program only for the tests of its own package; here `mercator`, and
# with the features it has among all tests, so that nothing is compiled twice.
# Tests through a running Envoy
e2e *args: test-setup filter probe
    cargo test {{ locked }} --workspace --no-run --test cli
    cargo test {{ locked }} --workspace --test e2e {{ args }}

# Measure: policy (the engine beside `cel`), scan, envoy (what the filter costs one), ingest, keyset, verify, load, size
bench name="policy" *args:
    @{{ just }} bench-{{ name }} {{ args }}

[private]
bench-policy *samples: setup
    scripts/probe.sh cel
    cargo run {{ locked }} --release -p jupiter-bench -- target/probe/cel.wasm {{ samples }}

[private]
bench-scan *samples: setup
    scripts/probe.sh tasks
    cargo run {{ locked }} --release -p jupiter-bench --bin scan -- target/probe/tasks.wasm {{ samples }}

[private]
bench-envoy: bench-setup filter
    cargo build {{ locked }} --profile filter --target wasm32-unknown-unknown -p jupiter-bench-empty -p jupiter-bench-calls
    cargo test {{ locked }} --workspace --no-run --test cli
    cargo bench {{ locked }} --workspace --profile dev --bench envoy

[private]
bench-ingest: test-setup
    cargo bench {{ locked }} --workspace --profile dev --bench ingest

# CPU seconds of `mercator verify` for a million records
[private]
bench-verify *records: setup
    cargo bench {{ locked }} --workspace --profile dev --bench verify -- {{ records }}

# Pages of `mercator evidence query` at 10,000 and at 5,000,000 records
[private]
bench-keyset *records: test-setup
    cargo bench {{ locked }} --workspace --profile dev --bench keyset -- {{ records }}

# `mercator benchmark` beside wrk and h2load: speed, agreement, a stalled server; fails when one does not hold
[private]
bench-load *seconds:
    cargo bench {{ locked }} --workspace --profile dev --bench load -- {{ seconds }}

[private]
bench-size: setup
    @scripts/probe.sh reader evaluator
    @scripts/size.sh

# Feed a parser with whatever may break it: mpl, cel, bundle, request, detectors, stream or note
fuzz target="mpl" seconds="60": fuzz-setup
    @scripts/fuzz.sh {{ seconds }} {{ target }}

# All of them, so briefly that CI can do it: four times `seconds` of processor time, which the seven share
fuzz-ci seconds="30": fuzz-setup
    @scripts/fuzz.sh "$(({{ seconds }} * 4 / 7))" mpl cel bundle request detectors stream note

# Send a running Envoy whatever may break the filter, from another seed each time
fuzz-envoy seconds="600": test-setup filter
    cargo test {{ locked }} --workspace --no-run --test cli
    MERCATOR_FUZZ_SECONDS={{ seconds }} MERCATOR_FUZZ_SEED="${MERCATOR_FUZZ_SEED:-$(date +%s)}" \
        cargo test {{ locked }} --workspace --test e2e hostile:: -- --nocapture

# Send so many exchanges of all kinds through one Envoy, and say whether its memory stays
soak count="200000": test-setup filter
    cargo test {{ locked }} --workspace --no-run --test cli
    cargo bench {{ locked }} --workspace --profile dev --bench soak -- {{ count }}

# Formatting, lints, licences: all that is judged without running anything
check: check-setup
    cargo fmt --all --check
    cargo clippy {{ locked }} --workspace --all-targets -- -D warnings
    cargo clippy {{ locked }} --profile filter --target wasm32-unknown-unknown -p jupiter-filter -- -D warnings
    {{ just }} bench-size
    {{ just }} deny

# Licences, sources and bans of every dependency (the advisories: `just advisories`)
deny: check-setup
    cargo-deny {{ locked }} check --hide-inclusion-graph bans licenses sources

# Known vulnerabilities of dependencies: clones the RustSec database, so it needs a network that reaches it
advisories: check-setup
    cargo-deny {{ locked }} check advisories

# Rewrite what is made from the code and compared in tests, for review
bless:
    MERCATOR_BLESS=1 cargo test {{ locked }} -p mercator -p jupiter-policy --test reference --test diagnostics --test pages
    MERCATOR_BLESS=1 cargo test {{ locked }} -p jupiter-detect --test detectors_quality
    MERCATOR_BLESS=1 cargo test {{ locked }} -p jupiter-tokens
    MERCATOR_BLESS=1 cargo test {{ locked }} -p jupiter-control-plane --lib metrics::
    MERCATOR_BLESS=1 cargo test {{ locked }} --workspace --test e2e reference_shows
    git diff --stat docs crates

# Kills and freezes everything under COUNT exchanges and accounts for each (SEED decides what)
account count="100000" seed="1": test-setup filter
    MERCATOR_ACCOUNT="{{ count }} {{ seed }}" cargo test {{ locked }} --workspace --test e2e accounting:: -- --nocapture

# Tests of the store on real Postgres servers, killed and frozen ones too (e2e runs them as well)
postgres *args: test-setup
    cargo test {{ locked }} --workspace --test postgres {{ args }}

# Break a whole installation piece by piece under load, and write docs/failover.md; root, minutes
failover *seconds: test-setup filter
    cargo test {{ locked }} --workspace --no-run --test cli
    @scripts/failover.sh {{ seconds }}

# Take control planes and database away under load, for ten minutes unless said otherwise
outage seconds="600": test-setup filter
    cargo test {{ locked }} --workspace --no-run --test cli
    MERCATOR_FAILOVER=outage MERCATOR_FAILOVER_GONE={{ seconds }} cargo test {{ locked }} --workspace --test failover what_breaks -- --nocapture

# Lose the leader of a Patroni cluster in every way, under load (Debian: patroni, etcd-server, python3-etcd); minutes
drill-patroni: test-setup filter
    cargo test {{ locked }} --workspace --no-run --test cli
    cargo test {{ locked }} --workspace --test patroni -- --nocapture

# All drills of `mercator drill local`, on an installation of their own; minutes (partition takes root and nft)
drill-local *args: build test-setup
    @exec scripts/mercator.sh drill local {{ args }}

# What CI runs
ci:
    .ci/run

[private]
filter:
    cargo build {{ locked }} --profile filter --target wasm32-unknown-unknown -p jupiter-filter
    @scripts/shrink.sh "${CARGO_TARGET_DIR:-target}/wasm32-unknown-unknown/filter/jupiter_filter.wasm"

# The policy engine as a module that decides what tests ask it in its configuration.
[private]
probe:
    cargo build {{ locked }} --profile filter --target wasm32-unknown-unknown -p jupiter-bench-probe --features tasks

[private]
test-setup:
    @scripts/setup.sh test

[private]
check-setup:
    @scripts/setup.sh check

[private]
bench-setup:
    @scripts/setup.sh bench

[private]
fuzz-setup:
    @scripts/setup.sh fuzz
