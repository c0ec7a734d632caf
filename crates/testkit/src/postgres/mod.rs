//! Real Postgres servers: one that the tests of a program share, each with a
//! database of its own ([`Database`]), clusters of a primary and standbys that a
//! test may kill, freeze and promote ([`PostgresCluster`]), and one that promotes
//! by itself ([`PatroniCluster`]).
//!
//! Servers run in temporary folders on free ports.

mod cluster;
mod patroni;
mod shared;
mod tls;

pub use cluster::PostgresCluster;
pub use jupiter_installation::postgres::{Node, USER};
pub use patroni::PatroniCluster;
pub use shared::{Database, database};
pub use tls::Certificates;

use jupiter_installation::postgres::Access;

/// Of [`USER`], and of the superuser.
pub const PASSWORD: &str = "s3cret-of-the-tests";

/// For the superuser of the server on this port.
fn access(port: u16) -> Access<'static> {
    let password = PASSWORD;
    Access { port, password }
}
