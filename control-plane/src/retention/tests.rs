//! What goes, what stays, and what an end at any step leaves behind.

use super::ledger::LEDGER_FILE;
use super::*;
use crate::config::LabelRetention;
use crate::metrics::Metrics;
use crate::seal::Sealer;
use crate::store::contract::samples::{SUBJECT, SampleEmitter, at, batch};
use crate::store::faults::Fault;
use crate::store::sqlite::SqliteStore;
use crate::store::{EvidenceFilter, NewEvidence, NewHold, Release, Store};
use crate::testing::TestApp;
use jupiter_evidence::export::ExportProof;
use jupiter_evidence::verify::{LineFacts, Names, verify};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use uuid::Uuid;

const ORIGIN: &str = "mercator/local";
const DAY: Duration = Duration::from_secs(24 * 3600);

struct Bench {
    test: TestApp,
    keys: LogKeys,
    sealer: Sealer,
    retainer: Retainer,
}

impl Bench {
    async fn start() -> Bench {
        let test = TestApp::start().await;
        let keys = LogKeys::load(test.folder.path(), ORIGIN, None).unwrap();
        let folder = test.folder.path();
        let sealer = Sealer::new(test.app.clone(), folder, ORIGIN, keys.clone()).unwrap();
        let retainer = retainer(&test.app, folder, &keys);
        Bench {
            test,
            keys,
            sealer,
            retainer,
        }
    }

    /// Stored and sealed.
    async fn filled(&mut self, records: Vec<NewEvidence>) {
        self.test
            .app
            .store
            .append_evidence(batch(records))
            .await
            .unwrap();
        self.sealer.seal().await.unwrap();
    }

    /// As the next process would go on.
    fn restart(&mut self) {
        self.retainer = retainer(&self.test.app, self.test.folder.path(), &self.keys);
    }

    async fn look(&mut self) -> Looked {
        self.retainer.look().await.unwrap()
    }

    fn archive(&self) -> PathBuf {
        self.test.folder.path().join("archive")
    }

    /// Names in the archive.
    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.archive());
        let entries = entries.into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Every archived line, each file of them proven.
    fn archived(&self) -> Vec<String> {
        let mut all = Vec::new();
        for name in self.names() {
            let Some(beside) = name.strip_suffix(".proof") else {
                assert!(name.ends_with(".jsonl"), "{name}");
                continue;
            };
            let text = fs::read_to_string(self.archive().join(beside)).unwrap();
            let proof = fs::read_to_string(self.archive().join(&name)).unwrap();
            let proof: ExportProof = serde_json::from_str(&proof).unwrap();
            let mut names = Names::default();
            let facts = text
                .lines()
                .map(|line| LineFacts::read(line.as_bytes(), &mut names));
            let facts: Vec<_> = facts.collect();
            let report = verify(&facts, &proof, &self.keys.known, &[]);
            assert_eq!((report.findings, report.unknown), (vec![], vec![]));
            assert_eq!(report.proven_lines, facts.len() as u64);
            all.extend(text.lines().map(str::to_owned));
        }
        all
    }

    async fn left(&self) -> Vec<String> {
        left(&*self.test.app.store).await
    }
}

async fn left(store: &dyn Store) -> Vec<String> {
    let all = EvidenceFilter::default();
    store
        .query_evidence(&all, None, 10_000)
        .await
        .unwrap()
        .records
}

fn retainer(app: &App, folder: &Path, keys: &LogKeys) -> Retainer {
    let label = |name: &str, value: Option<&str>, days: Option<u32>| LabelRetention {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        keep: days.map(|days| DAY * days),
    };
    let config = RetentionConfig {
        keep: Some(DAY * 30),
        labels: vec![
            label("brief", None, Some(5)),
            label("class", Some("payment"), Some(400)),
            label("kept", None, None),
        ],
        archive: folder.join("archive"),
        interval: DAY,
    };
    // A registry of its own, as another process has.
    let mut app = app.clone();
    app.metrics = Arc::new(Metrics::new());
    Retainer::new(app, folder, "jupiter-1", ORIGIN, keys.clone(), Some(config))
}

fn canonical(records: &[NewEvidence]) -> BTreeSet<String> {
    records
        .iter()
        .map(|it| it.envelope.canonical.clone())
        .collect()
}

#[tokio::test]
async fn old_records_go_to_the_archive_once_and_their_proofs_hold() {
    let mut bench = Bench::start().await;
    let mut emitter = SampleEmitter::new(1);
    let old = emitter.take(600);
    bench.filled(old.clone()).await;
    assert_eq!(bench.look().await, Looked::default());
    assert!(bench.names().is_empty());
    bench.test.clock.advance(DAY * 31);
    bench.restart();
    // Not sealed yet.
    let unsealed = emitter.take(3);
    bench
        .test
        .app
        .store
        .append_evidence(batch(unsealed))
        .await
        .unwrap();
    assert_eq!(bench.look().await.gone, 600);
    assert_eq!(bench.left().await.len(), 3);
    let archived = bench.archived();
    assert_eq!(archived.len(), 600);
    assert_eq!(
        archived.into_iter().collect::<BTreeSet<_>>(),
        canonical(&old)
    );
    assert_eq!(bench.look().await, Looked::default(), "once is enough");
    let totals = bench.test.app.store.evidence_totals().await.unwrap();
    assert_eq!(
        (totals.records, totals.missing, totals.chain_breaks),
        (603, 0, 0)
    );
    bench.sealer.seal().await.unwrap();
    let id = old[7].envelope.record.id;
    let reply = bench.test.get(&format!("/v1/evidence/{id}")).await;
    assert_eq!(reply.status, 410);
    assert_eq!(reply.json()["code"], "retained_no_more");
    let reply = bench.test.get(&format!("/v1/evidence/{id}/proof")).await;
    assert_eq!(reply.status, 200, "its proof holds");
    for (uri, status) in [
        ("/v1/log/tile/entries/000", 410),
        ("/v1/log/tile/entries/000?absent=empty", 200),
        ("/v1/log/tile/entries/000?absent=x", 400),
    ] {
        assert_eq!(bench.test.get(uri).await.status, status, "{uri}");
    }
    let listed = bench.test.get("/v1/evidence/retentions").await.json();
    assert_eq!(listed["retentions"][0]["records"], 600);
}

#[tokio::test]
async fn label_of_a_rule_says_how_long_and_the_longest_counts() {
    let mut bench = Bench::start().await;
    let mut emitter = SampleEmitter::new(1);
    let mut labelled = |tags: &[(&str, &str)]| {
        emitter.next(|record| {
            let tag = |(name, value): &(&str, &str)| Tag {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            };
            record.tags = tags.iter().map(tag).collect();
        })
    };
    let records = vec![
        labelled(&[]),
        labelled(&[("brief", "yes")]),
        labelled(&[("brief", ""), ("class", "payment")]),
        labelled(&[("class", "other")]),
        labelled(&[("class", "payment"), ("kept", "")]),
    ];
    bench.filled(records.clone()).await;
    let mut gone = Vec::new();
    for days in [6, 25, 370, 4_000] {
        bench.test.clock.advance(DAY * days);
        bench.look().await;
        let left: BTreeSet<String> = bench.left().await.into_iter().collect();
        let went = records
            .iter()
            .map(|it| !left.contains(&it.envelope.canonical));
        gone.push(went.collect::<Vec<_>>());
    }
    assert_eq!(gone[0], [false, true, false, false, false]);
    assert_eq!(gone[1], [true, true, false, true, false]);
    assert_eq!(gone[2], [true, true, true, true, false]);
    assert_eq!(gone[3], gone[2], "for ever");
    assert_eq!(bench.archived().len(), 4);
}

#[tokio::test]
async fn held_records_stay_until_the_hold_is_released() {
    let mut bench = Bench::start().await;
    let mut emitter = SampleEmitter::new(1);
    let mut records = emitter.take(6);
    records.push(emitter.next_of(Some("jwt:ada"), |_| ()));
    bench.filled(records).await;
    bench.test.clock.advance(DAY * 31);
    let store = Arc::clone(&bench.test.app.store);
    let hold = |number, subject: Option<&str>, since, until| NewHold {
        id: Uuid::from_u128(number),
        subject: subject.map(str::to_owned),
        since,
        until,
        reason: "case 9".to_owned(),
        at: at(0),
        by: "bob".to_owned(),
    };
    store
        .place_hold(hold(1, Some("jwt:ada"), None, None))
        .await
        .unwrap();
    store
        .place_hold(hold(2, None, Some(at(2_000)), Some(at(4_000))))
        .await
        .unwrap();
    let looked = bench.look().await;
    assert_eq!((looked.gone, looked.held), (4, 3));
    let release = || Release {
        at: at(1),
        by: "bob".to_owned(),
    };
    store
        .release_hold(Uuid::from_u128(2), release())
        .await
        .unwrap();
    let looked = bench.look().await;
    assert_eq!((looked.gone, looked.held), (2, 1));
    store
        .release_hold(Uuid::from_u128(1), release())
        .await
        .unwrap();
    assert_eq!(bench.look().await.gone, 1);
    assert_eq!(bench.archived().len(), 7);
    let text = bench.archived().join("\n");
    assert!(
        !text.contains("jwt:ada") && !text.contains(SUBJECT),
        "no names"
    );
}

#[tokio::test]
async fn end_at_any_step_loses_nothing_and_doubles_nothing() {
    // The steps in their order, each failing once.
    for step in ["folder", "before", "after", "names", "ledger"] {
        let mut bench = Bench::start().await;
        let old = SampleEmitter::new(1).take(300);
        bench.filled(old.clone()).await;
        bench.test.clock.advance(DAY * 31);
        let blocked = match step {
            "folder" => {
                fs::write(bench.archive(), "no folder").unwrap();
                Some(bench.archive())
            }
            "names" => {
                // Where the file is to have its name there is a folder.
                bench.test.faults.set_on("let_go", Fault::Before);
                bench.retainer.look().await.unwrap_err();
                bench.test.faults.set(None);
                let names = bench.names();
                let draft = names.iter().find(|name| name.contains(".jsonl.unfinished"));
                let name = draft
                    .unwrap()
                    .split(".unfinished")
                    .next()
                    .unwrap()
                    .to_owned();
                let path = bench.archive().join(name);
                fs::create_dir(&path).unwrap();
                Some(path)
            }
            "ledger" => {
                let path = bench.test.folder.path().join(LEDGER_FILE);
                fs::create_dir(&path).unwrap();
                Some(path)
            }
            _ => None,
        };
        match step {
            "before" => bench.test.faults.set_on("let_go", Fault::Before),
            "after" => bench.test.faults.set_on("let_go", Fault::After),
            _ => {}
        }
        bench.retainer.look().await.unwrap_err();
        bench.test.faults.set(None);
        let gone = !matches!(step, "folder" | "before");
        assert_eq!(bench.left().await.is_empty(), gone, "{step}");
        if let Some(path) = blocked {
            fs::remove_file(&path)
                .or_else(|_| fs::remove_dir(&path))
                .unwrap();
        }

        bench.restart();
        bench.look().await;
        assert_eq!(bench.left().await, Vec::<String>::new(), "{step}");
        let archived = bench.archived();
        assert_eq!(archived.len(), 300, "{step}");
        assert_eq!(
            archived.into_iter().collect::<BTreeSet<_>>(),
            canonical(&old),
            "{step}"
        );
        let noted = bench.test.app.store.retentions().await.unwrap();
        assert_eq!(noted.len(), 1, "{step}");
        let ledger = fs::read_to_string(bench.test.folder.path().join(LEDGER_FILE)).unwrap();
        assert_eq!(ledger.lines().count(), 1, "{step}");
    }
}

#[tokio::test]
async fn files_of_others_are_never_taken_away() {
    let mut bench = Bench::start().await;
    bench.filled(SampleEmitter::new(1).take(3)).await;
    bench.test.clock.advance(DAY * 31);
    fs::create_dir(bench.archive()).unwrap();
    let theirs = ["evidence-1.jsonl", "evidence-2.jsonl.unfinished-jupiter-2"];
    for name in theirs {
        fs::write(bench.archive().join(name), "theirs").unwrap();
    }
    let ours = bench
        .archive()
        .join("evidence-3.jsonl.unfinished-jupiter-1");
    fs::write(&ours, "never noted").unwrap();
    bench.look().await;
    assert!(theirs.iter().all(|name| bench.names().contains(*name)));
    assert!(!ours.exists());
}

#[tokio::test]
async fn restored_copy_of_the_database_lets_go_again() {
    let mut bench = Bench::start().await;
    bench.filled(SampleEmitter::new(1).take(300)).await;
    let copy = bench.test.folder.path().join("copy.db");
    for end in ["", "-wal"] {
        let file = bench.test.folder.path().join(format!("mercator.db{end}"));
        fs::copy(file, format!("{}{end}", copy.display())).unwrap();
    }
    bench.test.clock.advance(DAY * 31);
    assert_eq!(bench.look().await.gone, 300);

    bench.test.app.store = Arc::new(SqliteStore::open(&copy).await.unwrap());
    assert_eq!(bench.left().await.len(), 300);
    bench.restart();
    assert_eq!(bench.retainer.reconcile().await.unwrap(), 300);
    assert_eq!(bench.left().await, Vec::<String>::new());
    assert_eq!(
        bench.retainer.reconcile().await.unwrap(),
        0,
        "once is enough"
    );
    assert_eq!(bench.look().await.gone, 0);
    assert_eq!(bench.archived().len(), 300);
}

#[tokio::test]
async fn ledger_takes_nothing_from_another_log_and_believes_no_other_key() {
    let mut bench = Bench::start().await;
    bench.filled(SampleEmitter::new(1).take(20)).await;
    bench.test.clock.advance(DAY * 31);
    bench.look().await;
    let path = bench.test.folder.path().join(LEDGER_FILE);
    let ledger = fs::read_to_string(&path).unwrap();

    let mut other = Bench::start().await;
    other.filled(SampleEmitter::new(2).take(20)).await;
    let theirs = other.test.folder.path().join(LEDGER_FILE);
    fs::write(&theirs, &ledger).unwrap();
    let refused = other.retainer.reconcile().await.unwrap_err();
    assert!(refused.to_string().contains("line 1"), "{refused}");
    assert_eq!(
        fs::read_to_string(&theirs).unwrap(),
        ledger,
        "it is left as it is"
    );
    other.keys = bench.keys.clone();
    other.restart();
    assert_eq!(other.retainer.reconcile().await.unwrap(), 0);
    assert_eq!(other.left().await.len(), 20);
}
