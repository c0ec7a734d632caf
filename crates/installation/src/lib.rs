//! The parts of an installation, as real programs on this machine.
//!
//! [`PostgresCluster`] is a primary with standbys, [`Instance`] is `mercator run`
//! with its Envoy, [`HaProxy`] stands before instances, [`Program`] is any other.
//! Each can be killed, frozen and started again, or cut off ([`Partition`]). All is
//! on loopback, in folders that the caller names, and ends when it is dropped;
//! [`Keeper`] sees to it that it ends, too, when this process is killed.
//!
//! What is missing or goes wrong is an [`InstallationError`]. `mercator drill
//! local` puts the parts together; `jupiter_testkit` fails tests with them.

mod error;
mod haproxy;
mod instance;
mod keeper;
mod partition;
mod ports;
pub mod postgres;
mod process;
pub mod wait;

pub use error::InstallationError;
pub use haproxy::{HaProxy, Server, haproxy_binary};
pub use instance::{Instance, Ports, Settings, client};
pub use keeper::Keeper;
pub use partition::Partition;
pub use ports::free_port;
pub use postgres::PostgresCluster;
pub use process::{Program, Signal, children_of, on_path, runs_with, signal};
