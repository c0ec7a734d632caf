#!/usr/bin/env bash
# Tries every case of `tests/tests/failover` in a network of its own, where packets can
# be dropped without anybody else noticing, and writes docs/failover.md.
#
#   scripts/failover.sh [SECONDS]   for so long control planes and database are gone
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

PATH=$PATH:/usr/sbin
if ! command -v nft >/dev/null; then
    echo "failover: no nft here (it drops packets)" >&2
    echo "  help: Debian: \`apt-get install nftables\`" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "failover: only root can make a network of its own; run it as root" >&2
    exit 1
fi

export MERCATOR_FAILOVER=all MERCATOR_BLESS=1 MERCATOR_FAILOVER_GONE=${1:-30}
exec unshare --net bash -c 'ip link set lo up && exec "$@"' failover \
    cargo test ${CI:+--locked} --workspace --test failover -- --nocapture
