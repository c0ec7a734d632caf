//! The one stand-in: a model provider that speaks the real wire format.
//!
//! Answers OpenAI's chat completions, responses, completions, models and
//! embeddings and Anthropic's messages and token counting, whole and streamed,
//! with made-up but deterministic content and usage counted from the text. Each request, or the control API, scripts its
//! misbehaviour ([`Script`]): latency, errors, cut connections, silence. It
//! remembers every request as it arrived, so a test can see what reached it.
//!
//! [`FakeProvider::start`] runs one inside a test; [`serve`] runs one as a
//! program. Wire formats are in `openai` and `anthropic`, delivery in `wire`.

mod answer;
mod anthropic;
mod control;
mod openai;
mod received;
mod script;
mod server;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use received::ReceivedRequest;
pub use script::{CutHow, Script, ScriptError};

use openai::StoredResponse;
use received::ReceivedLog;

/// Serve the fake provider on `listener` until `shutdown` resolves; open
/// connections are then dropped.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    server::run(listener, Arc::new(Shared::default()), shutdown).await
}

/// A fake provider inside this process; dropping it closes every connection.
#[derive(Debug)]
pub struct FakeProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<io::Result<()>>,
}

impl FakeProvider {
    /// Start on a free loopback port.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Start on a given address, as a provider that comes back does.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(server::run(
            listener,
            Arc::clone(&shared),
            std::future::pending(),
        ));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an OpenAI client takes as its base URL: it ends in `/v1`.
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What an Anthropic client takes as its base URL: no `/v1`.
    pub fn anthropic_base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order of arrival, as it was received.
    pub fn received(&self) -> Vec<ReceivedRequest> {
        self.shared.received().all()
    }

    pub fn clear(&self) {
        self.shared.received().clear();
    }

    /// Take requests and answer none of them until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// How requests that carry no script of their own are answered.
    pub fn set_script(&self, script: Script) {
        self.shared.set_script(script);
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    script: Mutex<Script>,
    held: watch::Sender<bool>,
    received: Mutex<ReceivedLog>,
    /// What `/v1/responses` answered, by id.
    responses: Mutex<BTreeMap<String, StoredResponse>>,
}

impl Shared {
    fn script(&self) -> Script {
        self.script
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_script(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    async fn released(&self) {
        // The sender is here, so it does not go.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    fn responses(&self) -> MutexGuard<'_, BTreeMap<String, StoredResponse>> {
        self.responses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) -> MutexGuard<'_, ReceivedLog> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
