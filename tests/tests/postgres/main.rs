//! What the store promises in Postgres, tried on real servers.
//!
//! The contract is the one SQLite passes too; the rest is about servers that
//! die, freeze, lag or are promoted. `./justw test` installs Postgres or says
//! how; without it these tests fail.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod queries;
#[cfg(test)]
mod replicas;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod sealing;
#[cfg(test)]
mod startup;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod weeks;
