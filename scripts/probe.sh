#!/usr/bin/env bash
# Builds the policy engine as wasm modules that are measured, made smaller as the filter is,
# each into target/probe, and says how many bytes they have:
#
#   reader      reads a request into facts, as a module without policies would
#   evaluator   the same, and loads a bundle and decides
#   tasks       takes tasks in its configuration
#   cel         takes tasks, and knows the `cel` crate
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p target/probe
for module in "$@"; do
    features=$module
    [ "$module" = reader ] && features=
    cargo build ${CI:+--locked} --profile filter --target wasm32-unknown-unknown \
        -p jupiter-bench-probe --features "$features"
    cp "$target/wasm32-unknown-unknown/filter/jupiter_bench_probe.wasm" "target/probe/$module.wasm"
    scripts/shrink.sh "target/probe/$module.wasm"
    echo "$module: $(wc -c <"target/probe/$module.wasm") bytes"
done
