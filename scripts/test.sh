#!/usr/bin/env bash
# Runs the test suites named (`unit`, `e2e`) and closes with one line that counts
# all tests of the run: cargo prints a line per test program only.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
for suite in "$@"; do
    case $suite in
        unit) arguments=() ;; # also builds the `mercator` that e2e runs
        e2e) arguments=(--workspace --test postgres --test e2e) ;;
        *)
            echo "usage: scripts/test.sh [unit] [e2e]" >&2
            exit 2
            ;;
    esac
    # A failing suite does not hide what the next one has to say.
    cargo test ${CI:+--locked} --no-fail-fast "${arguments[@]}" 2>&1 | tee -a "$log" || status=1
done

total() {
    sed -nE "s/^test result: .* ([0-9]+) $1;.*/\1/p" "$log" | paste -sd+ - | bc_sum
}

# Adds up `1+2+3`; nothing adds up to 0.
bc_sum() {
    local sum
    read -r sum || sum=0
    echo $((sum))
}

echo
echo "$(total passed) passed, $(total failed) failed, $(total ignored) skipped"
exit "$status"
