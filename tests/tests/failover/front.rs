//! HAProxy before instances that share a database: clients ask, and what became
//! of the evidence is looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jupiter_testkit::load::{Fault, Kind, OpenLoad, Tally, listed_as_lost};
use jupiter_testkit::{HaProxy, Instance, InstanceBuilder, Shipped, target_dir, wait};
use serde_json::json;
use tempfile::TempDir;

/// Refuses `gpt-4-turbo…`.
const GUARD: &str = include_str!("../e2e/policies/guard.yaml");

/// Requests that are due each second, and what they ask in turn.
pub(crate) const EVEN: (u32, &[Kind]) = (30, &Kind::ALL);

/// The seed's objective for the application: the longest that anything here may take.
pub(crate) const RECOVERS_WITHIN: Duration = Duration::from_secs(300);

/// Fields are dropped in order: what asks before what is asked.
pub(crate) struct Front {
    pub(crate) haproxy: HaProxy,
    pub(crate) instances: Vec<Instance>,
    /// Holds the checkpoint of last time.
    folder: TempDir,
}

/// What became of the evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Exchanges that a client has an answer of, and neither the log nor a list holds.
    pub(crate) lost: usize,
    /// Those that the log does not hold and `evidence gaps` accounts for.
    pub(crate) listed: usize,
    /// Records that the log holds twice.
    pub(crate) doubled: usize,
}

impl Front {
    /// Three instances on the database that these lines name.
    pub(crate) async fn start(evidence: &[String]) -> Front {
        let first = member(evidence, 1).policy("guard", GUARD).start().await;
        // One region, one log, one key.
        let key = std::fs::read_to_string(first.data_dir().join("evidence.key")).expect("a key");
        let key = format!("signing_key: \"{}\"", key.trim());
        let (second, third) = tokio::join!(
            member(evidence, 2).evidence(&key).start(),
            member(evidence, 3).evidence(&key).start()
        );
        let instances = vec![first, second, third];
        for instance in &instances {
            instance.wait_for_bundle().await;
        }
        let of_all: Vec<&Instance> = instances.iter().collect();
        let haproxy = HaProxy::start(Shipped::Hardened, &of_all).await;
        Front {
            haproxy,
            instances,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Clients that ask so often for these in turn, once every instance has had its share.
    pub(crate) async fn load(&self, (per_second, kinds): (u32, &[Kind])) -> OpenLoad {
        let before = self.received();
        let load = OpenLoad::start(&self.haproxy.traffic(), per_second, kinds);
        wait::until("every instance to be at work", async || {
            let now = self.received();
            let more = |(now, before): (&usize, &usize)| now >= &(before + 5);
            match now.iter().zip(&before).all(more) {
                true => Ok(()),
                false => Err(now),
            }
        })
        .await;
        load
    }

    fn received(&self) -> Vec<usize> {
        let received = |instance: &Instance| instance.provider().received().len();
        self.instances.iter().map(received).collect()
    }

    /// Every instance is in rotation, and every part of it is well.
    pub(crate) async fn wait_until_well(&self) {
        for (number, instance) in self.instances.iter().enumerate() {
            wait::until_within(RECOVERS_WITHIN, "all parts to be well", async || {
                let deep = instance.admin().get("/health/deep").await.json();
                match deep["status"] == json!("healthy") {
                    true => Ok(()),
                    false => Err(deep),
                }
            })
            .await;
            let name = format!("jupiter{}", number + 1);
            self.haproxy.wait_for(&name, "UP").await;
        }
    }

    /// Waits for the evidence of all that was answered, and looks whether the
    /// log still contains what it contained before. `ids` asks the primary.
    pub(crate) async fn evidence_of(
        &self,
        tally: &Tally,
        ids: impl Fn() -> Result<String, String>,
    ) -> Evidence {
        let found = wait::until_within(RECOVERS_WITHIN, "all evidence", async || {
            let ids = ids()?;
            let all: Vec<&str> = ids.lines().collect();
            let recorded: BTreeSet<&str> = all.iter().copied().collect();
            let unrecorded = tally.unrecorded(&recorded);
            let instances: Vec<&Instance> = self.instances.iter().collect();
            let listed = listed_as_lost(&unrecorded, &instances).await;
            let lost = unrecorded.len() - listed;
            let missing = self.missing().await;
            let found = Evidence {
                lost,
                listed,
                doubled: all.len() - recorded.len(),
            };
            match lost == 0 && missing == 0 {
                true => Ok(found),
                false => Err(format!("{found:?}, {missing} missing")),
            }
        })
        .await;
        let key = self.key();
        self.mercator(&[
            "evidence",
            "checkpoint",
            "--keep",
            "checkpoint",
            "--key",
            &key,
        ]);
        found
    }

    /// What must hold whatever breaks; `may_fail` says what may.
    pub(crate) fn judge(&self, tally: &Tally, evidence: Evidence, may_fail: impl Fn(Kind) -> bool) {
        for (asked, fault) in tally.faults() {
            let never = matches!(fault, Fault::SilentlyCut | Fault::NotEnforced);
            let log = || self.haproxy.log();
            assert!(
                !never && may_fail(asked.kind),
                "{asked:?}\n{tally}\n{}",
                log()
            );
        }
        let Evidence { lost, doubled, .. } = evidence;
        assert_eq!((lost, doubled), (0, 0));
        assert!(tally.gap() < RECOVERS_WITHIN, "{tally}");
        for kind in Kind::ALL {
            assert!(
                tally.count(kind) > 0,
                "nothing of a kind was asked: {tally}"
            );
        }
    }

    /// Places of the emitters' sequences that have no record.
    async fn missing(&self) -> u64 {
        let instance = self.instances.last().expect("three instances");
        let emitters = instance.admin().get("/v1/emitters").await;
        let emitters = emitters.expect(200).json()["emitters"].clone();
        let all = emitters.as_array().into_iter().flatten();
        all.filter_map(|emitter| emitter["missing"].as_u64()).sum()
    }

    /// All of the log, offline: records, proofs, sequences.
    pub(crate) fn verify(&self) {
        self.mercator(&["evidence", "export", "--output", "records.jsonl"]);
        let checkpoint = self.path("checkpoint");
        let checkpoint = checkpoint.to_str().expect("a path");
        self.mercator(&[
            "verify",
            "records.jsonl",
            "--key",
            &self.key(),
            "--checkpoint",
            checkpoint,
        ]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self) -> String {
        let instance = self.instances.first().expect("three instances");
        let key = instance.data_dir().join("evidence.pub");
        key.to_str().expect("a path").to_owned()
    }

    fn mercator(&self, arguments: &[&str]) {
        let admin = self.instances.last().expect("three instances").admin();
        let program: &Path = &target_dir().join("debug/mercator");
        let output = Command::new(program)
            .current_dir(self.folder.path())
            .env("MERCATOR_SERVER", admin.base_url())
            .env("MERCATOR_TOKEN", admin.token().unwrap_or_default())
            .args(arguments)
            .output()
            .expect("`./justw test` builds mercator");
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
    }
}

fn member(evidence: &[String], number: usize) -> InstanceBuilder {
    let builder = Instance::builder().named(&format!("jupiter-{number}"));
    let builder = builder.idempotency("keep_answers: true");
    evidence
        .iter()
        .fold(builder, |builder, line| builder.evidence(line))
}
