//! A whole installation, broken piece by piece under load.
//!
//! HAProxy before three instances on a Postgres primary with two standbys, all
//! of them the real programs. Each case breaks one thing while clients ask at
//! a fixed rate, mends it, and says what the clients noticed and what became of
//! the evidence. Every run tries a few cases; `just failover` tries them all and
//! writes `docs/failover.md`.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod front;
#[cfg(test)]
mod installation;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod network;
