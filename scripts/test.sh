#!/usr/bin/env bash
# Runs every test of the workspace and closes with one line that counts them: cargo
# prints a line per test program only. One call of cargo, so that every crate is built
# with one set of features, once; `mercator`, which the end-to-end tests start, too.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
# A failing suite does not hide what the next one has to say.
cargo test ${CI:+--locked} --workspace --no-fail-fast 2>&1 | tee "$log" || status=1

total() {
    sed -nE "s/^test result: .* ([0-9]+) $1;.*/\1/p" "$log" | awk '{ sum += $1 } END { print sum + 0 }'
}

echo
echo "$(total passed) passed, $(total failed) failed, $(total ignored) skipped"
exit "$status"
