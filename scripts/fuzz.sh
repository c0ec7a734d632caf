#!/usr/bin/env bash
# Fuzzes targets of fuzz/, each for some seconds, as many at a time as there are
# processors: scripts/fuzz.sh SECONDS TARGET…
#
# Without sanitizers: no code of ours is unsafe, and so a stable compiler does. What was
# found stays in fuzz/corpus, what broke something in fuzz/artifacts.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

seconds=$1
shift
# Coverage is an unstable option of the compiler, which a stable one has all the same.
export RUSTC_BOOTSTRAP=1

seed() {
    mkdir -p "fuzz/corpus/$1"
    case $1 in
        mpl) cp examples/policies/*.yaml fuzz/corpus/mpl/ ;;
        # One expression a file.
        cel) split -l 1 fuzz/seeds/cel.txt fuzz/corpus/cel/seed- ;;
        detectors) split -l 1 fuzz/seeds/detectors.txt fuzz/corpus/detectors/seed- ;;
        request | stream) cp "fuzz/seeds/$1/"* "fuzz/corpus/$1/" ;;
        *) ;;
    esac
}

fuzz() {
    cargo fuzz run --sanitizer none "$2" "fuzz/corpus/$2" \
        -- -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
}

# Says what a target said when it is over: others run meanwhile.
apart() {
    local told status=0
    told=$(mktemp)
    fuzz "$@" >"$told" 2>&1 || status=1
    cat "$told"
    rm "$told"
    return "$status"
}

for target in "$@"; do
    seed "$target"
done
if [ "$#" -eq 1 ]; then
    fuzz "$seconds" "$1"
    exit
fi
cargo fuzz build --sanitizer none
export -f fuzz apart
# Each has a processor of its own; one that fails does not stop the others.
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'apart "$@"' _ "$seconds" {}
