//! Packets that vanish, as behind a broken switch: nobody is told.
//!
//! Needs the right to change the rules of this network, and nft. Only packets to and
//! from the ports that are named vanish.

use crate::InstallationError;
use crate::postgres::run;
use crate::process::on_path;
use std::fmt::Write;
use std::process::Command;

/// Until it is dropped.
#[derive(Debug)]
pub struct Partition {
    table: String,
}

impl Partition {
    /// Drops all that goes to or comes from these ports, connections that exist included.
    pub fn drop_packets(ports: &[u16]) -> Result<Partition, InstallationError> {
        let rules = ports.iter().fold(String::new(), |mut rules, port| {
            let _ = write!(rules, "tcp dport {port} drop; tcp sport {port} drop; ");
            rules
        });
        Partition::begin(&rules)
    }

    /// Drops what programs of a user send to a port.
    pub fn drop_packets_of(user: &str, port: u16) -> Result<Partition, InstallationError> {
        Partition::begin(&format!("meta skuid {user} tcp dport {port} drop; "))
    }

    /// Whether packets can be dropped here, and why not.
    pub fn try_out() -> Result<(), InstallationError> {
        Partition::begin("").map(drop)
    }

    fn begin(rules: &str) -> Result<Partition, InstallationError> {
        let table = table(std::process::id());
        let output = "type filter hook output priority 0;";
        nft(&format!(
            "table inet {table} {{ chain out {{ {output} {rules}}}; }}"
        ))?;
        Ok(Partition { table })
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // It was there, so only one who took it away himself finds none.
        let _ = nft(&format!("delete table inet {}", self.table));
    }
}

/// The rules of one process: two do not mend each other's faults.
pub(crate) fn table(process: u32) -> String {
    format!("mercator_{process}")
}

fn nft(command: &str) -> Result<(), InstallationError> {
    // Where Debian puts it, which is on root's PATH alone.
    let nft = on_path("nft", &["/usr/sbin"]).ok_or(InstallationError::Missing {
        program: "nft",
        help: "Debian: `apt-get install nftables`",
    })?;
    let mut nft = Command::new(nft);
    nft.arg(command);
    run(nft).map(drop)
}
