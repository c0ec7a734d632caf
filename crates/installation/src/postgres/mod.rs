//! Real Postgres servers, in folders of the caller's and on free ports.
//!
//! Postgres refuses to run as root, so there it runs as an unprivileged user
//! ([`Owner`]), who must be able to enter the folder.

mod cluster;
mod server;

pub use cluster::{Node, PostgresCluster, evidence_lines};
pub use server::{Access, Owner, append, create_database, create_role, init, programs, psql, run};

/// The role that instances connect as.
pub const USER: &str = "mercator";
/// The database that a cluster is about.
pub const DATABASE: &str = "mercator_evidence";
