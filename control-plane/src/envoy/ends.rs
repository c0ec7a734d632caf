//! Envoys that ended when nobody asked them to.
//!
//! What such an Envoy had in flight, and what it had not written to its access
//! log yet, left no evidence, and no number of a sequence tells of it. So its
//! end itself is evidence: from when to when exchanges may be lost. It is noted
//! in a file, on disk before the next Envoy starts, and given to the store from
//! there; what a control plane could not deliver, the next one does.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::bootstrap::access_log_path;
use crate::app::App;
use crate::config::Config;
use crate::store::EnvoyEnd;

/// Envoy writes its access log in less (`--file-flush-interval-msec`).
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where ends are noted.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    file: PathBuf,
    pid_file: PathBuf,
    access_log: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    since_us: i64,
    until_us: i64,
    how: String,
}

impl Notes {
    pub(super) fn new(folder: &Path, pid_file: &Path, config: &Config) -> Notes {
        Notes {
            file: notes_in(folder),
            pid_file: pid_file.to_owned(),
            access_log: access_log_path(config),
        }
    }

    /// The Envoy of the pid file has ended, now or some time ago.
    pub(super) fn add(&self, how: &str) {
        let note = Note {
            since_us: self.last_sign().as_microsecond(),
            until_us: Timestamp::now().as_microsecond(),
            how: how.to_owned(),
        };
        if let Err(error) = append(&self.file, &note) {
            tracing::error!(%error, "the end of envoy cannot be noted: `evidence gaps` will not tell of it");
        }
    }

    /// What ended before is in the access log.
    fn last_sign(&self) -> Timestamp {
        let changed = |path| fs::metadata(path).and_then(|metadata| metadata.modified());
        let started = changed(&self.pid_file).unwrap_or(SystemTime::UNIX_EPOCH);
        let written = changed(&self.access_log).unwrap_or(SystemTime::UNIX_EPOCH);
        let written = written.checked_sub(FLUSH_WITHIN).unwrap_or(written);
        Timestamp::try_from(started.max(written)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn notes_in(folder: &Path) -> PathBuf {
    folder.join("ends.jsonl")
}

fn append(path: &Path, note: &Note) -> io::Result<()> {
    let mut line = serde_json::to_string(note)?;
    line.push('\n');
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

/// The task that gives notes to the store.
#[derive(Debug)]
pub(crate) struct Delivery {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Delivery {
    pub(crate) fn start(app: App, config: &Config) -> Delivery {
        let stop = CancellationToken::new();
        let notes = notes_in(&config.envoy_dir());
        let task = tokio::spawn(deliver(app, config.instance.clone(), notes, stop.clone()));
        Delivery { stop, task }
    }

    /// Tries a last time; what is left then is for the next control plane.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // It only ends early by a panic, which has been told of.
        let _ = self.task.await;
    }
}

async fn deliver(app: App, instance: String, notes: PathBuf, stop: CancellationToken) {
    loop {
        let last = stop.is_cancelled();
        if let Err(error) = deliver_once(&app, &instance, &notes).await {
            tracing::warn!(error, "the end of an envoy is not stored yet");
        }
        if last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// INVARIANT: notes leave the disk only when the store has them. They are moved
/// aside first, since the supervisor may add to the file at any time.
async fn deliver_once(app: &App, instance: &str, notes: &Path) -> Result<(), String> {
    let taken = notes.with_extension("sending");
    let said = |error: io::Error| error.to_string();
    if !taken.exists() {
        match fs::rename(notes, &taken) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(said)?,
        }
    }
    let text = fs::read_to_string(&taken).map_err(said)?;
    // A line that a power cut left half says nothing more.
    let ends = text.lines().filter_map(|line| {
        let note: Note = serde_json::from_str(line).ok()?;
        Some(EnvoyEnd {
            instance: instance.to_owned(),
            since: Timestamp::from_microsecond(note.since_us).ok()?,
            until: Timestamp::from_microsecond(note.until_us).ok()?,
            how: note.how,
        })
    });
    let ends: Vec<EnvoyEnd> = ends.collect();
    let stored = app.store.note_envoy_ends(&ends).await;
    stored.map_err(|error| error.to_string())?;
    fs::remove_file(&taken).map_err(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::faults::Fault;
    use crate::testing::TestApp;

    #[tokio::test]
    async fn noted_end_reaches_the_store_once_whatever_fails() {
        for fault in [None, Some(Fault::Before), Some(Fault::After)] {
            let folder = tempfile::tempdir().unwrap();
            let test = TestApp::start().await;
            let notes = Notes {
                file: notes_in(folder.path()),
                pid_file: folder.path().join("envoy.pid"),
                access_log: folder.path().join("access.log"),
            };
            fs::write(&notes.pid_file, "1").unwrap();
            notes.add("signal: 9 (SIGKILL)");
            test.faults.set(fault);
            let tried = deliver_once(&test.app, "jupiter-1", &notes.file).await;
            assert_eq!(tried.is_err(), fault.is_some());
            test.faults.set(None);
            notes.add("exit status: 1");
            for _ in 0..2 {
                deliver_once(&test.app, "jupiter-1", &notes.file)
                    .await
                    .unwrap();
            }
            let gaps = test.app.store.evidence_gaps(10).await.unwrap();
            assert_eq!(gaps.envoy_ends_total, 2, "{fault:?}");
            let hows: Vec<_> = gaps.envoy_ends.iter().map(|end| end.how.as_str()).collect();
            assert_eq!(hows, ["exit status: 1", "signal: 9 (SIGKILL)"]);
            let [last, first] = &gaps.envoy_ends[..] else {
                panic!("{gaps:?}");
            };
            assert!(first.since <= first.until && first.until <= last.until);
            assert_eq!(
                fs::read_dir(folder.path()).unwrap().count(),
                1,
                "no note is left"
            );
        }
    }
}
