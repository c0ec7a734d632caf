#!/usr/bin/env bash
# Becomes the `mercator` that was built here, with the filter that was built here
# and the Envoy that setup fetched, if it did.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

export PATH="$root/.tools/envoy:$PATH"
export MERCATOR_ENVOY__FILTER="${MERCATOR_ENVOY__FILTER:-$target/wasm32-unknown-unknown/filter/jupiter_filter.wasm}"
exec "$target/debug/mercator" "$@"
