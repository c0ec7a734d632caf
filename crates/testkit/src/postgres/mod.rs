//! Real Postgres servers: one that the tests of a program share, each with a
//! database of its own ([`Database`]), clusters of a primary and standbys that a
//! test may kill, freeze and promote ([`PostgresCluster`]), and one that promotes
//! by itself ([`PatroniCluster`]).
//!
//! Servers run in temporary folders on free ports. Postgres refuses to run as
//! root, so there they run as an unprivileged user.

mod cluster;
mod patroni;
mod server;
mod shared;
mod tls;

pub use cluster::{Node, PostgresCluster};
pub use patroni::PatroniCluster;
pub use shared::{Database, database};
pub use tls::Certificates;

/// The role that tests connect as, and its password.
pub const USER: &str = "mercator";
pub const PASSWORD: &str = "s3cret-of-the-tests";
