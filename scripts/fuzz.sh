#!/usr/bin/env bash
# Fuzzes targets of fuzz/, each for some seconds: scripts/fuzz.sh SECONDS TARGET…
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

for target in "$@"; do
    seed "$target"
    cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" \
        -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1
done
