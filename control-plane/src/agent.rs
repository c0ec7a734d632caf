//! Tells HAProxy in one line whether this instance wants traffic.
//!
//! The port speaks HAProxy's agent-check: who connects is told `up ready`,
//! `drain` or `down` and the connection ends. `drain` keeps what is in flight
//! alive, which a failed health check does not where sessions of servers marked
//! down are cut. Before the instance serves, nothing is said, and HAProxy keeps
//! what it knew: a control plane that starts again beside an Envoy that never
//! stopped takes it out of no rotation.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::envoy::supervisor::{EnvoyPhase, EnvoyStatus};
use crate::standing::Standing;

/// Answers until `stop`.
pub async fn serve(
    listener: TcpListener,
    app: App,
    envoy: watch::Receiver<EnvoyStatus>,
    stop: CancellationToken,
) -> io::Result<()> {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        // Out of file descriptors, or the other side is gone already.
        let Ok((mut socket, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let phase = envoy.borrow().phase;
        if let Some(line) = line(app.standings.now(), phase) {
            // A fresh socket takes a few bytes at once; who hung up needs none.
            let _ = socket.write_all(line.as_bytes()).await;
        }
    }
}

fn line(standing: Standing, envoy: EnvoyPhase) -> Option<&'static str> {
    match (standing, envoy) {
        (Standing::Starting, _) => None,
        (Standing::Draining | Standing::Stopping, _) => Some("drain\n"),
        (Standing::Serving, EnvoyPhase::Unmanaged | EnvoyPhase::Running) => Some("up ready\n"),
        (Standing::Serving, _) => Some("down\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_asks_for_traffic_only_while_envoy_serves() {
        use EnvoyPhase::{Down, Draining, Running, Starting, Stopped, Unmanaged};
        for phase in [Unmanaged, Starting, Running, Down, Draining, Stopped] {
            assert_eq!(line(Standing::Starting, phase), None);
            assert_eq!(line(Standing::Draining, phase), Some("drain\n"));
            assert_eq!(line(Standing::Stopping, phase), Some("drain\n"));
        }
        for phase in [Unmanaged, Running] {
            assert_eq!(line(Standing::Serving, phase), Some("up ready\n"));
        }
        for phase in [Starting, Down, Stopped] {
            assert_eq!(line(Standing::Serving, phase), Some("down\n"));
        }
    }
}
