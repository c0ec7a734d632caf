#!/usr/bin/env bash
# Says what loading and deciding policies adds to a module, the difference of what
# scripts/probe.sh built, and fails when that is more than may be: 80 KiB, see
# docs/performance.md.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

limit=81920
size() { wc -c <"target/probe/$1.wasm"; }
added=$(($(size evaluator) - $(size reader)))
echo "loading and deciding adds $added bytes; no more than $limit may be"
[ "$added" -le "$limit" ]
