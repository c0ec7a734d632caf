//! Packets that vanish, as behind a broken switch: nobody is told.
//!
//! Needs a network of the tests' own, which `just failover` makes, and nft.

use jupiter_testkit::Partition;

/// Drops all that goes to or comes from a port, until it is dropped itself.
pub(crate) fn drop_packets(port: u16) -> Partition {
    Partition::drop_packets(&[port]).expect("`just failover` has a network of its own")
}

/// Drops what programs of a user send to a port: control planes run as root,
/// servers of Postgres as `postgres`.
pub(crate) fn drop_packets_of(user: &str, port: u16) -> Partition {
    Partition::drop_packets_of(user, port).expect("`just failover` has a network of its own")
}
