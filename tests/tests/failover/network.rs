//! Packets that vanish, as behind a broken switch: nobody is told.
//!
//! Needs a network of the tests' own, which `just failover` makes, and nft.

use std::process::Command;

const TABLE: &str = "mercator_failover";

/// From now on, until [`Partition::mend`] or the end.
pub(crate) struct Partition;

impl Partition {
    /// Drops all that goes to or comes from a port, connections that exist included.
    pub(crate) fn drop_packets(port: u16) -> Partition {
        let chain = format!(
            "table inet {TABLE} {{ chain out {{ type filter hook output priority 0; \
             tcp dport {port} drop; tcp sport {port} drop; }}; }}"
        );
        nft(&chain);
        Partition
    }

    /// Drops what programs of a user send to a port: control planes run as root,
    /// servers of Postgres as `postgres`.
    pub(crate) fn drop_packets_of(user: &str, port: u16) -> Partition {
        nft(&format!(
            "table inet {TABLE} {{ chain out {{ type filter hook output priority 0; \
             meta skuid {user} tcp dport {port} drop; }}; }}"
        ));
        Partition
    }

    pub(crate) fn mend(self) {
        drop(self);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        nft(&format!("delete table inet {TABLE}"));
    }
}

fn nft(command: &str) {
    // Where Debian puts it, which is on root's PATH alone.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let ran = Command::new("nft")
        .env("PATH", path)
        .arg(command)
        .output()
        .expect("`just failover` needs nft (Debian: `apt-get install nftables`)");
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "nft {command}: {told}");
}
