#!/usr/bin/env bash
# Says what loading and deciding policies adds to a module, the difference of what
# scripts/probe.sh built, and fails when that is more than has been reached: the goal is
# 81,920 bytes, see docs/performance.md.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

limit=103424
size() { wc -c <"target/probe/$1.wasm"; }
added=$(($(size evaluator) - $(size reader)))
echo "loading and deciding adds $added bytes; no more than $limit may be"
[ "$added" -le "$limit" ]
