//! HAProxy, three instances, a primary and two standbys.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jupiter_testkit::load::{Kind, OpenLoad, Tally};
use jupiter_testkit::postgres::PostgresCluster;
use jupiter_testkit::{HaProxy, Instance, InstanceBuilder, Shipped, target_dir, wait};
use serde_json::json;
use tempfile::TempDir;

/// Refuses `gpt-4-turbo…`.
const GUARD: &str = include_str!("../e2e/policies/guard.yaml");

/// Requests that are due each second.
const RATE: u32 = 30;

/// The seed's objective for evidence: the longest that anything here may take.
pub(crate) const RECOVERS_WITHIN: Duration = Duration::from_secs(300);

/// Fields are dropped in order: what asks before what is asked.
pub(crate) struct Installation {
    pub(crate) haproxy: HaProxy,
    pub(crate) instances: Vec<Instance>,
    pub(crate) postgres: PostgresCluster,
    /// Which node of `postgres` takes writes.
    pub(crate) primary: usize,
    /// Holds the checkpoint of last time.
    folder: TempDir,
}

/// What became of the evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Exchanges that a client has an answer of and the log does not hold.
    pub(crate) lost: usize,
    /// Records that the log holds twice.
    pub(crate) doubled: usize,
}

impl Installation {
    pub(crate) async fn start() -> Installation {
        let postgres = PostgresCluster::start(2, "").await;
        let first = member(&postgres, 1).policy("guard", GUARD).start().await;
        // One region, one log, one key.
        let key = std::fs::read_to_string(first.data_dir().join("evidence.key")).expect("a key");
        let key = format!("signing_key: \"{}\"", key.trim());
        let (second, third) = tokio::join!(
            member(&postgres, 2).evidence(&key).start(),
            member(&postgres, 3).evidence(&key).start()
        );
        let instances = vec![first, second, third];
        for instance in &instances {
            instance.wait_for_bundle().await;
        }
        let of_all: Vec<&Instance> = instances.iter().collect();
        let haproxy = HaProxy::start(Shipped::Hardened, &of_all).await;
        Installation {
            haproxy,
            instances,
            postgres,
            primary: 0,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn first(&mut self) -> &mut Instance {
        self.instances.first_mut().expect("three instances")
    }

    /// The nodes that follow the primary.
    pub(crate) fn standbys(&self) -> impl Iterator<Item = usize> + use<> {
        let primary = self.primary;
        (0..3).filter(move |node| *node != primary)
    }

    /// Clients that ask, once every instance has had its share.
    pub(crate) async fn load(&self) -> OpenLoad {
        let before = self.received();
        let load = OpenLoad::start(&self.haproxy.traffic(), RATE, &Kind::ALL);
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

    /// Makes the best standby the primary, as a cluster manager would.
    pub(crate) fn promote(&mut self) {
        self.primary = self.postgres.promote_best(self.primary);
    }

    /// A stopped node follows the primary again.
    pub(crate) async fn rejoin(&mut self, node: usize) {
        self.postgres.rejoin(node, self.primary).await;
        self.postgres.wait_for_standbys(self.primary, 2).await;
    }

    pub(crate) async fn wait_for(&self, number: usize, status: &str) {
        let name = format!("jupiter{}", number + 1);
        self.haproxy.wait_for(&name, status).await;
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
            self.wait_for(number, "UP").await;
        }
    }

    /// Waits for the evidence of all that was answered, and looks whether the
    /// log still contains what it contained before.
    pub(crate) async fn evidence_of(&self, tally: &Tally) -> Evidence {
        let mut evidence = Evidence::default();
        let complete = async || {
            let ids = self.postgres.sql(self.primary, "SELECT id FROM evidence");
            let all: Vec<&str> = ids.lines().collect();
            let recorded: BTreeSet<&str> = all.iter().copied().collect();
            let lost = tally.answered().filter(|id| !recorded.contains(id)).count();
            let missing = self.missing().await;
            let found = Evidence {
                lost,
                doubled: all.len() - recorded.len(),
            };
            match lost == 0 && missing == 0 {
                true => Ok(found),
                false => Err((found, missing)),
            }
        };
        let found = wait::until_within(RECOVERS_WITHIN, "all evidence", complete).await;
        evidence.lost += found.lost;
        evidence.doubled += found.doubled;
        self.mercator(&[
            "evidence",
            "checkpoint",
            "--keep",
            "checkpoint",
            "--key",
            &self.key(),
        ]);
        evidence
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

    fn path(&self, name: &str) -> std::path::PathBuf {
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

fn member(postgres: &PostgresCluster, number: usize) -> InstanceBuilder {
    let builder = Instance::builder().named(&format!("jupiter-{number}"));
    let lines = postgres.evidence_lines();
    lines
        .iter()
        .fold(builder, |builder, line| builder.evidence(line))
}
