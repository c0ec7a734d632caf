//! Asks others to vouch for our checkpoints.
//!
//! Sealing does not wait for them: readers are told the newest checkpoint that all
//! were asked about, with the lines of those that answered in time. One that fails is
//! asked more and more seldom, so that it does not delay the others' lines for long.

use jupiter_evidence::tree::{
    CosignerKey, Hash, Submission, Tiles, consistency_path, cosignatures_in,
};
use reqwest::{Client, StatusCode, redirect};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::CosignerConfig;
use crate::metrics::CosignerLabels;
use crate::store::{Store, StoreError, StoredCheckpoint};

/// A cosigner that takes longer is passed over this time.
const WITHIN: Duration = Duration::from_secs(2);

/// How soon one that failed is asked again: at first, and at last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(60);

/// An answer is a few lines.
const MAX_ANSWER: usize = 16 * 1024;

/// Why a cosigner did not vouch.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("it did not answer in time")]
    TooLate,
    #[error("it answered {0}")]
    Answered(StatusCode),
    #[error("its answer has no signature of its key on our checkpoint")]
    NoCosignature,
    #[error(
        "it saw another log of our name, of {seen} records, than ours of {ours}: \
         the log was set back or has two histories"
    )]
    Contradicted { seen: u64, ours: u64 },
    /// Another control plane of this log was faster: the next checkpoint will do.
    #[error("it vouched for a newer checkpoint of this log already")]
    Overtaken { seen: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The task that asks.
#[derive(Debug)]
pub struct Asking {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Asking {
    /// Nobody to ask: everyone is told what is published at once.
    pub fn start(app: App, cosigners: &[CosignerConfig]) -> Option<Asking> {
        if cosigners.is_empty() {
            return None;
        }
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(WITHIN)
            .build();
        let http = http
            .inspect_err(|error| tracing::error!(%error, "no HTTP client to ask cosigners with"))
            .ok()?;
        app.log.expect_cosigners();
        let asked = cosigners.iter().map(|config| Asked {
            url: format!("{}/add-checkpoint", config.url),
            key: config.key.clone(),
            http: http.clone(),
            old_size: 0,
            fails: None,
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(app, asked.collect(), stop.clone()));
        Some(Asking { stop, task })
    }

    pub async fn stop(self) {
        self.stop.cancel();
        // It only ends early by a panic, which has been told of.
        let _ = self.task.await;
    }
}

async fn run(app: App, mut asked: Vec<Asked>, stop: CancellationToken) {
    let mut lines: Vec<Option<String>> = Vec::new();
    let mut about: Option<Arc<StoredCheckpoint>> = None;
    loop {
        let again = asked.iter().filter_map(|one| Some(one.fails?.not_before));
        let again = again.min().map(tokio::time::sleep_until);
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.log.news() => {}
            () = async { match again { Some(again) => again.await, None => std::future::pending().await } } => {}
        }
        let Some(published) = app.log.published() else {
            continue;
        };
        if about
            .as_ref()
            .is_none_or(|about| about.note != published.note)
        {
            lines = vec![None; asked.len()];
        }
        let round = ask_all(&app, &mut asked, &lines, &published);
        tokio::select! {
            () = stop.cancelled() => return,
            answers = round => {
                for (place, line) in answers {
                    if let Some(known) = lines.get_mut(place) {
                        *known = Some(line);
                    }
                }
            }
        }
        let cosignatures: String = lines.iter().flatten().map(String::as_str).collect();
        app.log.tell(StoredCheckpoint {
            note: format!("{}{cosignatures}", published.note),
            ..(*published).clone()
        });
        about = Some(published);
    }
}

/// Asks all that have not vouched for this checkpoint yet, side by side.
async fn ask_all(
    app: &App,
    asked: &mut [Asked],
    lines: &[Option<String>],
    published: &Arc<StoredCheckpoint>,
) -> Vec<(usize, String)> {
    let now = Instant::now();
    let mut asking = JoinSet::new();
    for (place, one) in asked.iter().enumerate() {
        let waits = one.fails.is_some_and(|fails| fails.not_before > now);
        if waits || lines.get(place).is_some_and(Option::is_some) {
            continue;
        }
        let (mut one, store, published) =
            (one.clone(), Arc::clone(&app.store), Arc::clone(published));
        asking.spawn(async move {
            let answer = tokio::time::timeout(WITHIN, one.ask(&*store, &published));
            let answer = answer.await.unwrap_or(Err(AskError::TooLate));
            (place, one, answer)
        });
    }
    let mut answers = Vec::new();
    while let Some(done) = asking.join_next().await {
        let Ok((place, mut one, answer)) = done else {
            continue;
        };
        let cosigner = one.key.name().to_owned();
        let result = match answer {
            Ok(line) => {
                if one.fails.take().is_some() {
                    tracing::info!(cosigner, "a cosigner vouches for the log again");
                }
                answers.push((place, line));
                "cosigned"
            }
            Err(AskError::Overtaken { seen }) => {
                (one.old_size, one.fails) = (seen, None);
                "overtaken"
            }
            Err(error) => {
                one.failed(&error);
                match error {
                    AskError::Contradicted { .. } => "contradicted",
                    _ => "failed",
                }
            }
        };
        let labels = CosignerLabels { cosigner, result };
        app.metrics.cosigner_answers.get_or_create(&labels).inc();
        if let Some(known) = asked.get_mut(place) {
            *known = one;
        }
    }
    answers
}

/// One cosigner, and what is known of it.
#[derive(Debug, Clone)]
struct Asked {
    url: String,
    key: CosignerKey,
    http: Client,
    /// Of the checkpoint it vouched for last, as far as is known.
    old_size: u64,
    fails: Option<Fails>,
}

#[derive(Debug, Clone, Copy)]
struct Fails {
    after: Duration,
    not_before: Instant,
}

impl Asked {
    fn failed(&mut self, error: &AskError) {
        let cosigner = self.key.name();
        match (error, self.fails) {
            (AskError::Contradicted { .. }, _) => {
                tracing::error!(cosigner, %error, "a cosigner does not vouch for the log");
            }
            (_, None) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(cosigner, %error, cause, "a cosigner does not vouch for the log");
            }
            // Told already, and counted.
            (_, Some(_)) => {}
        }
        // It tells again what it vouched for last.
        self.old_size = 0;
        let after = self.fails.map_or(AGAIN_AFTER, |fails| fails.after * 2);
        let after = after.min(AGAIN_AFTER_AT_MOST);
        self.fails = Some(Fails {
            after,
            not_before: Instant::now() + after,
        });
    }

    /// Its lines under our checkpoint.
    async fn ask(
        &mut self,
        store: &dyn Store,
        checkpoint: &StoredCheckpoint,
    ) -> Result<String, AskError> {
        // What it vouched for last is not known at first, or another of our control
        // planes asked it meanwhile: it tells.
        let ours = checkpoint.size;
        for _ in 0..3 {
            let seen = self.old_size;
            if seen > ours {
                // What others seal in the tree that we share, it may know before us.
                return Err(match store.log_state().await?.size >= seen {
                    true => AskError::Overtaken { seen },
                    false => AskError::Contradicted { seen, ours },
                });
            }
            let submission = Submission {
                old_size: self.old_size,
                proof: proof(store, self.old_size, checkpoint.size).await?,
                checkpoint: checkpoint.note.clone(),
            };
            let (status, answer) = self.post(submission.to_string()).await?;
            match status {
                StatusCode::OK => {
                    self.old_size = checkpoint.size;
                    let lines = cosignatures_in(&answer, &checkpoint.note, &self.key);
                    return lines.ok_or(AskError::NoCosignature);
                }
                StatusCode::CONFLICT => {
                    let last = answer.trim_end().parse::<u64>();
                    let last = last.map_err(|_| AskError::Answered(status))?;
                    if last == seen {
                        return Err(AskError::Contradicted { seen, ours });
                    }
                    self.old_size = last;
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    return Err(AskError::Contradicted { seen, ours });
                }
                other => return Err(AskError::Answered(other)),
            }
        }
        Err(AskError::Answered(StatusCode::CONFLICT))
    }

    async fn post(&self, body: String) -> Result<(StatusCode, String), AskError> {
        let sent = self.http.post(&self.url).body(body).send().await;
        let mut answer = sent.map_err(AskError::Unreachable)?;
        let mut text = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(AskError::Unreachable)? {
            text.extend(chunk);
            if text.len() > MAX_ANSWER {
                return Err(AskError::NoCosignature);
            }
        }
        Ok((answer.status(), String::from_utf8_lossy(&text).into_owned()))
    }
}

async fn proof(store: &dyn Store, old: u64, new: u64) -> Result<Vec<Hash>, StoreError> {
    let path = consistency_path(old, new);
    let tiles: Tiles = store
        .tiles(&Tiles::needed_for(&path))
        .await?
        .into_iter()
        .collect();
    tiles
        .subtrees(&path)
        .ok_or(StoreError::Corrupt("a tile is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CosignConfig;
    use crate::cosign::Vouching;
    use crate::seal::{LogKeys, Sealer};
    use crate::store::contract::samples::{SampleEmitter, batch};
    use crate::testing::TestApp;

    const ORIGIN: &str = "mercator/local";

    /// A log of five records, and its checkpoints over three and five.
    async fn log() -> (TestApp, Arc<StoredCheckpoint>, Arc<StoredCheckpoint>) {
        let test = TestApp::start().await;
        let folder = test.folder.path();
        let keys = LogKeys::load(folder, ORIGIN, None).unwrap();
        let mut sealer = Sealer::new(test.app.clone(), folder, ORIGIN, keys).unwrap();
        let mut emitter = SampleEmitter::new(1);
        let mut checkpoints = Vec::new();
        for count in [3, 2] {
            let records = batch(emitter.take(count));
            test.app.store.append_evidence(records).await.unwrap();
            sealer.seal().await.unwrap();
            checkpoints.push(test.app.log.published().unwrap());
        }
        let newest = checkpoints.pop().unwrap();
        (test, checkpoints.pop().unwrap(), newest)
    }

    /// Someone who vouches for the log, listening.
    async fn cosigner(log: &TestApp) -> (TestApp, Asked) {
        let mut test = TestApp::start().await;
        let public = std::fs::read_to_string(log.folder.path().join("evidence.pub")).unwrap();
        let config = CosignConfig {
            name: "witness.example".to_owned(),
            signing_key: None,
            logs: vec![public.trim().parse().unwrap()],
        };
        test.app.cosign = Arc::new(Vouching::load(test.folder.path(), &config).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = test.app.clone();
        tokio::spawn(crate::api::serve(listener, app, CancellationToken::new()));
        let key = std::fs::read_to_string(test.folder.path().join("cosign.pub")).unwrap();
        let asked = Asked {
            url: format!("http://{address}/v1/log/witness/add-checkpoint"),
            key: key.trim().parse().unwrap(),
            http: Client::new(),
            old_size: 0,
            fails: None,
        };
        (test, asked)
    }

    #[tokio::test]
    async fn control_plane_that_lags_behind_another_of_its_log_raises_no_alarm() {
        let (log, earlier, newest) = log().await;
        let (_cosigner, asked) = cosigner(&log).await;
        let (store, mut other) = (&*log.app.store, asked.clone());
        other.ask(store, &earlier).await.unwrap();
        let lines = other.ask(store, &newest).await.unwrap();
        assert!(lines.starts_with("\u{2014} witness.example "), "{lines}");
        // This one saw neither happen.
        let mut late = asked.clone();
        let answer = late.ask(store, &earlier).await;
        assert!(
            matches!(answer, Err(AskError::Overtaken { seen: 5 })),
            "{answer:?}"
        );
        late.ask(store, &newest).await.unwrap();
        // A database that has no such tree was set back.
        let empty = TestApp::start().await;
        let answer = asked.clone().ask(&*empty.app.store, &earlier).await;
        let back = matches!(answer, Err(AskError::Contradicted { seen: 5, ours: 3 }));
        assert!(back, "{answer:?}");
    }

    #[tokio::test]
    async fn what_a_cosigner_does_not_sign_is_not_told() {
        let (log, _, newest) = log().await;
        let (_cosigner, asked) = cosigner(&log).await;
        let stranger = jupiter_evidence::tree::Cosigner::new("witness.example", &[7; 32]);
        let mut asked = Asked {
            key: stranger.unwrap().verifier(),
            ..asked
        };
        let answer = asked.ask(&*log.app.store, &newest).await;
        assert!(matches!(answer, Err(AskError::NoCosignature)), "{answer:?}");
    }
}
