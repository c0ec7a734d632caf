//! What is vouched for, and every way not to be, as `tlog-witness` says.

use super::*;
use crate::store::faults::Fault;
use crate::testing::{Reply, TestApp};
use axum::http::Method;
use jupiter_evidence::tree::{Edge, NoteSigner, Tiles, consistency_path};
use std::sync::Arc;

const ORIGIN: &str = "log.example/one";
const URI: &str = "/v1/log/witness/add-checkpoint";

/// A log of another organisation.
struct Log {
    signer: NoteSigner,
    /// Told apart by their first leaf.
    history: u8,
}

impl Log {
    fn new(history: u8) -> Log {
        let signer = NoteSigner::new(ORIGIN, &[1; 32]).unwrap();
        Log { signer, history }
    }

    fn tree(&self, size: u64) -> (Tiles, [u8; 32]) {
        let mut edge = Edge::default();
        for leaf in 0..size {
            edge.push([self.history ^ leaf as u8; 32]);
        }
        let root = edge.root();
        (edge.take_changed().into_iter().collect(), root)
    }

    fn submission(&self, old_size: u64, size: u64) -> Submission {
        let (tiles, root) = self.tree(size);
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root,
        };
        Submission {
            old_size,
            proof: tiles.subtrees(&consistency_path(old_size, size)).unwrap(),
            checkpoint: checkpoint.sign([&self.signer]),
        }
    }
}

async fn witness() -> TestApp {
    let mut test = TestApp::start().await;
    let config = CosignConfig {
        name: "witness.example".to_owned(),
        signing_key: None,
        logs: vec![Log::new(0).signer.verifier()],
    };
    test.app.cosign = Arc::new(Vouching::load(test.folder.path(), &config).unwrap());
    test
}

async fn submit(test: &TestApp, submission: &Submission) -> Reply {
    submit_text(test, &submission.to_string()).await
}

/// From nobody: the log's signature is all there is.
async fn submit_text(test: &TestApp, submission: &str) -> Reply {
    let body = submission.to_owned();
    test.send(None, Method::POST, URI, &[], body).await
}

async fn assert_conflict(test: &TestApp, submission: &Submission, size: u64) {
    let reply = submit(test, submission).await;
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(reply.header("content-type"), "text/x.tlog.size");
    assert_eq!(reply.text(), format!("{size}\n"));
}

#[tokio::test]
async fn log_that_only_grows_is_vouched_for_at_every_step() {
    let test = witness().await;
    let key = test.app.cosign.cosigner.as_ref().unwrap().verifier();
    let log = Log::new(0);
    for (old, new) in [(0, 3), (3, 3), (3, 260), (260, 700)] {
        let submission = log.submission(old, new);
        let reply = submit(&test, &submission).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let note = Note::parse(&format!("{}{}", submission.checkpoint, reply.text())).unwrap();
        let now = test.app.clock.now().as_second() as u64;
        assert_eq!(key.vouched_at(&note), Ok(Some(now)));
        let cosigned = test.app.store.cosigned(ORIGIN).await.unwrap().unwrap();
        assert_eq!((cosigned.size, cosigned.note), (new, submission.checkpoint));
    }
    // Who does not know what was cosigned last, is told.
    assert_conflict(&test, &log.submission(0, 800), 700).await;
    assert_conflict(&test, &log.submission(260, 800), 700).await;
}

#[tokio::test]
async fn second_history_of_a_log_is_never_vouched_for() {
    let test = witness().await;
    let (log, other) = (Log::new(0), Log::new(9));
    assert_eq!(submit(&test, &log.submission(0, 5)).await.status, 200);
    for size in [6, 300] {
        let forked = submit(&test, &other.submission(5, size)).await;
        assert_eq!(forked.status, 422, "{}", forked.text());
    }
    assert_conflict(&test, &other.submission(5, 5), 5).await;
    assert_conflict(&test, &other.submission(0, 300), 5).await;
    // The one that was there first goes on.
    assert_eq!(submit(&test, &log.submission(5, 6)).await.status, 200);
}

#[tokio::test]
async fn submissions_that_are_none_are_refused_as_the_protocol_says() {
    let test = witness().await;
    let log = Log::new(0);
    let good = log.submission(0, 5);
    let stranger = NoteSigner::new(ORIGIN, &[2; 32]).unwrap();
    let elsewhere = NoteSigner::new("log.example/two", &[1; 32]).unwrap();
    let signed_by = |signer: &NoteSigner, origin: &str| Submission {
        checkpoint: Checkpoint {
            origin: origin.to_owned(),
            size: 5,
            root: log.tree(5).1,
        }
        .sign([signer]),
        ..good.clone()
    };
    let padded = Submission {
        proof: vec![[0; 32]],
        ..good.clone()
    };
    let larger = Submission {
        old_size: 6,
        ..good.clone()
    };
    let altered = good.to_string().replacen("\n5\n", "\n6\n", 1);
    for (submission, status, code) in [
        (String::new(), 400, "not_a_submission"),
        ("old 0\n\nnot a note\n".to_owned(), 400, "not_a_submission"),
        (larger.to_string(), 400, "old_size_too_large"),
        (
            signed_by(&stranger, ORIGIN).to_string(),
            403,
            "not_signed_by_its_log",
        ),
        (altered, 403, "not_signed_by_its_log"),
        (
            signed_by(&elsewhere, "log.example/two").to_string(),
            404,
            "unknown_log",
        ),
        (padded.to_string(), 422, "not_consistent"),
    ] {
        let reply = submit_text(&test, &submission).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{submission}");
    }
    assert_eq!(test.app.store.cosigned(ORIGIN).await.unwrap(), None);
    // One that cosigns nothing knows no log.
    let nobody = TestApp::start().await;
    assert_eq!(submit(&nobody, &good).await.status, 404);
}

#[tokio::test]
async fn nothing_is_vouched_for_that_is_not_remembered() {
    let test = witness().await;
    let log = Log::new(0);
    for (fault, remembered) in [(Fault::Before, 0), (Fault::After, 5)] {
        test.faults.set_on("advance_cosigned", fault);
        let reply = submit(&test, &log.submission(0, 5)).await;
        assert_eq!(reply.status, 503, "{}", reply.text());
        test.faults.set(None);
        let cosigned = test.app.store.cosigned(ORIGIN).await.unwrap();
        assert_eq!(cosigned.map_or(0, |cosigned| cosigned.size), remembered);
    }
    assert_eq!(submit(&test, &log.submission(5, 9)).await.status, 200);
}

#[tokio::test]
async fn of_racing_submissions_only_one_moves_the_log_on() {
    let test = Arc::new(witness().await);
    let mut racing = tokio::task::JoinSet::new();
    for size in 1..9 {
        let test = Arc::clone(&test);
        racing.spawn(async move { submit(&test, &Log::new(0).submission(0, size)).await.status });
    }
    let mut statuses = racing.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409, 409, 409]);
}
