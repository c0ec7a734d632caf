//! Sealing, with everything that can go wrong in it.

use super::*;
use crate::store::contract::samples::{SampleEmitter, batch};
use crate::store::faults::Fault;
use crate::testing::TestApp;
use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::NoteSigner;
use tempfile::TempDir;

const ORIGIN: &str = "mercator/local";

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, &[seed; 32]).unwrap()
}

fn keys(seeds: &[u8]) -> LogKeys {
    let signers: Vec<NoteSigner> = seeds.iter().map(|seed| signer(*seed)).collect();
    LogKeys {
        known: signers.iter().map(NoteSigner::verifier).collect(),
        signers,
    }
}

/// A control plane that seals; its files are in a folder of their own.
struct Plane {
    sealer: Sealer,
    folder: TempDir,
}

impl Plane {
    fn new(app: &App) -> Plane {
        Plane::with(app, tempfile::tempdir().unwrap(), ORIGIN, keys(&[1]))
    }

    fn with(app: &App, folder: TempDir, origin: &str, keys: LogKeys) -> Plane {
        // A view of its own, as another process has.
        let mut app = app.clone();
        app.log = Arc::default();
        let sealer = Sealer::new(app, folder.path(), origin, keys).unwrap();
        Plane { sealer, folder }
    }

    async fn seal(&mut self) -> Result<(), SealError> {
        self.sealer.seal().await
    }

    fn published(&self) -> Option<Checkpoint> {
        let published = self.sealer.app.log.published()?;
        let (checkpoint, _) = Checkpoint::open(&published.note, &self.sealer.keys.known).unwrap();
        assert_eq!(
            (checkpoint.size, checkpoint.root),
            (published.size, published.root)
        );
        let file = fs::read_to_string(self.folder.path().join(PUBLISHED_FILE)).unwrap();
        assert_eq!(file, published.note);
        Some(checkpoint)
    }

    fn size(&self) -> u64 {
        self.published().map_or(0, |checkpoint| checkpoint.size)
    }
}

async fn append(app: &App, emitter: &mut SampleEmitter, count: usize) {
    let appended = app.store.append_evidence(batch(emitter.take(count))).await;
    assert_eq!(appended.unwrap().outcomes.len(), count);
}

/// The root over the first `size` records that the store gives.
async fn root_of_records(app: &App, size: u64) -> Hash {
    let mut edge = Edge::default();
    for entry in app.store.log_entries(0, size as u32).await.unwrap() {
        assert_eq!(entry.index, edge.size());
        edge.push(LeafHash::of(entry.canonical().unwrap().as_bytes()).0);
    }
    assert_eq!(edge.size(), size);
    edge.root()
}

fn refusal(result: Result<(), SealError>) -> Refusal {
    match result {
        Err(SealError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn stored_records_are_signed_and_published() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    plane.seal().await.unwrap();
    assert_eq!(plane.published(), None);
    let mut emitter = SampleEmitter::new(1);
    for (count, size) in [(3, 3), (260, 263), (1, 264)] {
        append(&test.app, &mut emitter, count).await;
        plane.seal().await.unwrap();
        let checkpoint = plane.published().unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            (ORIGIN, size)
        );
        assert_eq!(checkpoint.root, root_of_records(&test.app, size).await);
    }
}

#[tokio::test]
async fn nothing_is_signed_without_news() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    append(&test.app, &mut SampleEmitter::new(1), 3).await;
    plane.seal().await.unwrap();
    let before = plane.sealer.app.log.published();
    test.clock.advance(Duration::from_secs(5));
    plane.seal().await.unwrap();
    assert_eq!(plane.sealer.app.log.published(), before);
}

#[tokio::test]
async fn whatever_write_fails_the_log_goes_on_without_hole_or_contradiction() {
    for method in ["sequence_batches", "advance_checkpoint"] {
        for fault in [Fault::Before, Fault::After] {
            for restart in [false, true] {
                let test = TestApp::start().await;
                let mut plane = Plane::new(&test.app);
                let mut emitter = SampleEmitter::new(1);
                append(&test.app, &mut emitter, 300).await;
                plane.seal().await.unwrap();
                let before = plane.published().unwrap();

                append(&test.app, &mut emitter, 2).await;
                test.faults.set_on(method, fault);
                let failed = plane.seal().await;
                assert!(matches!(failed, Err(SealError::Store(_))), "{failed:?}");
                assert_eq!(
                    plane.published(),
                    Some(before.clone()),
                    "{method} {fault:?}"
                );

                test.faults.set(None);
                append(&test.app, &mut emitter, 2).await;
                if restart {
                    plane = Plane::with(&test.app, plane.folder, ORIGIN, keys(&[1]));
                }
                plane.seal().await.unwrap();
                let after = plane.published().unwrap();
                assert_eq!(after.size, 304, "{method} {fault:?}");
                assert_eq!(after.root, root_of_records(&test.app, 304).await);
                let checked = plane.sealer.check(&before, after.size, &after.root);
                checked.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn checkpoint_that_cannot_be_remembered_is_not_published() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    append(&test.app, &mut SampleEmitter::new(1), 3).await;
    let file = plane.folder.path().join(PUBLISHED_FILE);
    fs::create_dir(&file).unwrap();
    let failed = plane.seal().await;
    assert!(matches!(failed, Err(SealError::File { .. })), "{failed:?}");
    assert_eq!(plane.sealer.app.log.published(), None);
    fs::remove_dir(&file).unwrap();
    plane.seal().await.unwrap();
    assert_eq!(plane.size(), 3);
}

#[tokio::test]
async fn of_several_control_planes_none_contradicts_another() {
    let test = TestApp::start().await;
    let mut planes: Vec<Plane> = (0..3).map(|_| Plane::new(&test.app)).collect();
    let mut notes = std::collections::BTreeMap::new();
    let mut emitter = SampleEmitter::new(1);
    for round in 0..12 {
        append(&test.app, &mut emitter, 1 + round * 7).await;
        let [a, b, c] = planes.as_mut_slice() else {
            unreachable!()
        };
        let (a, b, c) = tokio::join!(a.seal(), b.seal(), c.seal());
        for result in [a, b, c] {
            result.unwrap();
        }
        for checkpoint in planes.iter().filter_map(Plane::published) {
            let root = checkpoint.root;
            // One size, one root.
            assert_eq!(*notes.entry(checkpoint.size).or_insert(root), root);
        }
    }
    // Each of them goes on from where the others stopped.
    for plane in &mut planes {
        plane.seal().await.unwrap();
        assert_eq!(plane.size(), 474);
    }
    let whole = planes[0].published().unwrap();
    for (size, root) in notes {
        let old = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root,
        };
        let checked = planes[0].sealer.check(&old, whole.size, &whole.root);
        checked.await.unwrap();
    }
}

#[tokio::test]
async fn older_copy_of_the_database_is_not_signed() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    append(&test.app, &mut SampleEmitter::new(1), 5).await;
    plane.seal().await.unwrap();
    // The database of some time before, in the place of this one.
    let older = TestApp::start().await;
    append(&older.app, &mut SampleEmitter::new(1), 3).await;
    Plane::new(&older.app).seal().await.unwrap();
    append(&older.app, &mut SampleEmitter::new(2), 9).await;
    let mut plane = Plane::with(&older.app, plane.folder, ORIGIN, keys(&[1]));
    let refused = refusal(plane.seal().await);
    assert_eq!(
        refused,
        Refusal::RolledBack {
            stored: 3,
            published: 5
        }
    );
    assert_eq!(plane.sealer.app.log.published(), None);
    // Nothing moved, and it is said to everyone.
    assert_eq!(older.app.store.log_state().await.unwrap().size, 3);
    plane.sealer.seal_and_tell().await;
    assert_eq!(plane.sealer.app.log.refusal(), Some(refused));
    let metrics = older.app.metrics.encode("").unwrap();
    assert!(
        metrics.contains("mercator_evidence_seal_refused 1"),
        "{metrics}"
    );
    // Under another name it is another log, which promised nothing.
    let renamed = NoteSigner::new("mercator/local/e2", &[1; 32]).unwrap();
    let mut both = keys(&[1]);
    both.known.push(renamed.verifier());
    both.signers = vec![renamed];
    let mut plane = Plane::with(&older.app, plane.folder, "mercator/local/e2", both);
    plane.sealer.seal_and_tell().await;
    assert_eq!(plane.sealer.app.log.refusal(), None);
    assert_eq!(plane.size(), 12);
}

#[tokio::test]
async fn tree_that_contradicts_what_was_published_is_not_signed() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    append(&test.app, &mut SampleEmitter::new(1), 5).await;
    plane.seal().await.unwrap();
    // Another history of the same length and more.
    let forked = TestApp::start().await;
    append(&forked.app, &mut SampleEmitter::new(2), 5).await;
    Plane::new(&forked.app).seal().await.unwrap();
    let mut plane = Plane::with(&forked.app, plane.folder, ORIGIN, keys(&[1]));
    let refused = refusal(plane.seal().await);
    assert_eq!(refused, Refusal::Contradicted { size: 5 });
    append(&forked.app, &mut SampleEmitter::new(3), 5).await;
    Plane::new(&forked.app).seal().await.unwrap();
    assert_eq!(refusal(plane.seal().await), refused);
    assert_eq!(plane.sealer.app.log.published(), None);
}

#[tokio::test]
async fn log_of_another_key_is_not_signed() {
    let test = TestApp::start().await;
    append(&test.app, &mut SampleEmitter::new(1), 5).await;
    Plane::new(&test.app).seal().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut plane = Plane::with(&test.app, folder, ORIGIN, keys(&[2]));
    append(&test.app, &mut SampleEmitter::new(2), 5).await;
    assert_eq!(refusal(plane.seal().await), Refusal::ForeignKey);
    assert_eq!(plane.sealer.app.log.published(), None);
}

#[tokio::test]
async fn rotated_keys_sign_together_and_the_old_checkpoint_stays_good() {
    let test = TestApp::start().await;
    let mut plane = Plane::new(&test.app);
    append(&test.app, &mut SampleEmitter::new(1), 5).await;
    plane.seal().await.unwrap();
    let old_note = plane.sealer.app.log.published().unwrap().note.clone();
    // Both sign, at once and without news.
    let mut plane = Plane::with(&test.app, plane.folder, ORIGIN, keys(&[2, 1]));
    plane.seal().await.unwrap();
    let note = plane.sealer.app.log.published().unwrap().note.clone();
    for seed in [1, 2] {
        let known = [signer(seed).verifier()];
        assert_eq!(Checkpoint::open(&note, &known).unwrap().0.size, 5);
    }
    // Then the new one alone.
    let mut last = keys(&[2]);
    last.known.push(signer(1).verifier());
    let mut plane = Plane::with(&test.app, plane.folder, ORIGIN, last);
    append(&test.app, &mut SampleEmitter::new(2), 5).await;
    plane.seal().await.unwrap();
    assert_eq!(plane.size(), 10);
    let known = &plane.sealer.keys.known;
    assert_eq!(Checkpoint::open(&old_note, known).unwrap().0.size, 5);
    let note = &plane.sealer.app.log.published().unwrap().note;
    let old = [signer(1).verifier()];
    assert!(Checkpoint::open(note, &old).is_err());
}
