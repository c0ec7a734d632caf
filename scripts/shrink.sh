#!/usr/bin/env bash
# Makes a wasm module smaller, in place, by Binaryen's `wasm-opt`; it does the same as before.
# What it may use is what rustc uses and Envoy's V8 knows.
set -euo pipefail

for module in "$@"; do
    wasm-opt -Oz --enable-simd --enable-bulk-memory --enable-sign-ext \
        --enable-nontrapping-float-to-int --enable-mutable-globals \
        --strip-debug --strip-producers "$module" -o "$module.smaller"
    # Cargo's own copy is another name of the same file, and stays as it is.
    mv "$module.smaller" "$module"
done
