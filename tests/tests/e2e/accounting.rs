//! The accounting: while control planes, Envoys and the database are killed, frozen and
//! started again, every exchange is in the evidence once, or `evidence gaps` lists it with
//! its cause; what left under `durability: required` has its record without exception.
//!
//! A short run with each commit; `just account COUNT SEED` for a long one. The seed
//! decides what is asked and what breaks; when things break also depends on the machine.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use jupiter_evidence::rfc3339_micros;
use jupiter_testkit::postgres::PostgresCluster;
use jupiter_testkit::{Instance, Traffic, wait};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::support::{GUARD, question, streamed};

const INSTANCES: usize = 2;
const CLIENTS: usize = 6;

/// Of requests to these models the record is stored before they leave.
const KEPT: &str = "gpt-4o-kept";

const KEPT_POLICY: &str = "mpl_version: \"1.0\"
name: kept
version: \"1.0.0\"
rules:
  - name: kept-models
    durability: required
    conditions:
      - {field: request.model, operator: starts_with, value: gpt-4o-kept}
    actions: [{type: tag, tags: {kept: \"yes\"}}]
";

/// SplitMix64: the same numbers from the same seed, everywhere.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.throw() % end
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// An exchange as its client knows it.
struct Made {
    request_id: Uuid,
    instance: usize,
    /// RFC 3339, as the control plane writes times.
    began: String,
    ended: String,
    /// As the answer names it, where there was one.
    decision_id: Option<String>,
}

#[derive(Clone, Copy)]
struct Run {
    count: usize,
    seed: u64,
}

impl Run {
    /// `MERCATOR_ACCOUNT="COUNT SEED"`, or the short run.
    fn asked() -> Run {
        let Ok(text) = std::env::var("MERCATOR_ACCOUNT") else {
            return Run {
                count: 1_500,
                seed: 7,
            };
        };
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map(|number| number.parse().expect("MERCATOR_ACCOUNT is `COUNT SEED`"))
            .collect();
        let [count, seed] = numbers[..] else {
            panic!("MERCATOR_ACCOUNT is `COUNT SEED`, not `{text}`");
        };
        let count = usize::try_from(count).expect("a number of exchanges");
        Run { count, seed }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exchange_is_recorded_once_or_listed_whatever_is_killed() {
    let run = Run::asked();
    let mut cluster = PostgresCluster::start(0, "").await;
    let mut instances = Vec::new();
    for number in 1..=INSTANCES {
        let [backend, postgres] = cluster.evidence_lines();
        let builder = Instance::builder()
            .named(&format!("jupiter-{number}"))
            .evidence(&backend)
            .evidence(&postgres)
            .evidence("store_timeout: 700ms");
        // What one publishes, all enforce.
        let instance = match number {
            1 => builder.policy("guard", GUARD).policy("kept", KEPT_POLICY),
            _ => builder,
        };
        let instance = instance.start().await;
        instance.wait_for_bundle().await;
        instances.push(instance);
    }

    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = instances
        .iter()
        .enumerate()
        .flat_map(|(number, instance)| (0..CLIENTS).map(move |_| (number, instance.traffic())))
        .map(|(number, traffic)| tokio::spawn(client(run, number, traffic, Arc::clone(&next))))
        .collect();
    let mut dice = Dice(run.seed ^ 0xfau64);
    let mut faults = BTreeMap::new();
    while clients.iter().any(|client| !client.is_finished()) {
        tokio::time::sleep(dice.millis(200, 900)).await;
        let fault = Fault::thrown(&mut dice);
        *faults.entry(format!("{fault:?}")).or_insert(0) += 1;
        fault.strike(&mut dice, &mut instances, &mut cluster).await;
    }
    let mut made = Vec::new();
    for client in clients {
        made.extend(client.await.expect("a client"));
    }
    assert_eq!(made.len(), run.count);

    let report = settled(&instances, &made).await;
    eprintln!(
        "{} exchanges with seed {}: {} recorded, {} listed as lost; faults: {faults:?}; gaps: {}",
        made.len(),
        run.seed,
        report.recorded,
        report.lost,
        report.totals,
    );
    assert!(
        report.lost * 10 < made.len(),
        "what is listed as lost is the exception"
    );
    assert_kept_are_recorded(&instances, &report);
    let rows = cluster.sql(0, "SELECT count(*) - count(DISTINCT id) FROM evidence");
    assert_eq!(rows, "0", "a record is stored twice");
    let breaks = cluster.sql(0, "SELECT sum(chain_breaks) FROM emitter_epochs");
    assert_eq!(breaks, "0", "a record does not fit its sequence");
}

fn now() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.expect("a clock past 1970").as_micros();
    rfc3339_micros(u64::try_from(now).expect("a clock of our times"))
}

/// What is broken for a while.
#[derive(Debug, Clone, Copy)]
enum Fault {
    ControlPlaneKilled,
    ControlPlaneFrozen,
    EnvoyKilled,
    EnvoyFrozen,
    BothKilled,
    DatabaseKilled,
    DatabaseFrozen,
    EnvoyKilledWhileTheDatabaseIsAway,
}

impl Fault {
    fn thrown(dice: &mut Dice) -> Fault {
        match dice.below(8) {
            0 => Fault::ControlPlaneKilled,
            1 => Fault::ControlPlaneFrozen,
            2 => Fault::EnvoyKilled,
            3 => Fault::EnvoyFrozen,
            4 => Fault::BothKilled,
            5 => Fault::DatabaseKilled,
            6 => Fault::DatabaseFrozen,
            _ => Fault::EnvoyKilledWhileTheDatabaseIsAway,
        }
    }

    async fn strike(
        self,
        dice: &mut Dice,
        instances: &mut [Instance],
        cluster: &mut PostgresCluster,
    ) {
        let number = usize::try_from(dice.below(INSTANCES as u64)).expect("a small number");
        let instance = &mut instances[number];
        let pause = dice.millis(200, 1_200);
        let lasting = || tokio::time::sleep(pause);
        match self {
            Fault::ControlPlaneKilled => {
                instance.kill_control_plane();
                lasting().await;
                instance.start_control_plane().await;
            }
            Fault::ControlPlaneFrozen => {
                instance.freeze_control_plane();
                lasting().await;
                instance.thaw_control_plane();
            }
            Fault::EnvoyKilled => {
                kill_envoy(instance).await;
                instance.wait_for_traffic().await;
            }
            Fault::EnvoyFrozen => {
                let pid = instance.freeze_envoy().await;
                lasting().await;
                instance.thaw_envoy(pid);
            }
            Fault::BothKilled => {
                instance.kill_control_plane();
                kill_envoy(instance).await;
                lasting().await;
                instance.start_control_plane().await;
            }
            Fault::DatabaseKilled => {
                cluster.kill(0).await;
                lasting().await;
                cluster.start_node(0).await;
            }
            Fault::DatabaseFrozen => {
                cluster.freeze(0);
                lasting().await;
                cluster.thaw(0);
            }
            Fault::EnvoyKilledWhileTheDatabaseIsAway => {
                cluster.kill(0).await;
                kill_envoy(instance).await;
                lasting().await;
                cluster.start_node(0).await;
                instance.wait_for_traffic().await;
            }
        }
    }
}

/// An Envoy may be about to be started again.
async fn kill_envoy(instance: &mut Instance) {
    wait::until("an Envoy", async || instance.envoy_pid().ok_or("none")).await;
    instance.kill_envoy().await;
}

async fn client(run: Run, instance: usize, traffic: Traffic, next: Arc<AtomicUsize>) -> Vec<Made> {
    let mut made = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= run.count {
            return made;
        }
        let mut dice = Dice(run.seed.wrapping_mul(1_000_003) ^ number as u64);
        let ids = (u128::from(dice.throw()) << 64) | u128::from(dice.throw());
        let request_id = uuid::Builder::from_random_bytes(ids.to_be_bytes()).into_uuid();
        let kind = dice.below(20);
        let (began, answered) = loop {
            let began = now();
            match one(&traffic, kind, request_id).await {
                Some(answered) => break (began, answered),
                // Nobody listens: that was no exchange.
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        made.push(Made {
            request_id,
            instance,
            began,
            ended: now(),
            decision_id: answered,
        });
    }
}

/// One exchange of the mix; the decision id if there was an answer with one. `None` when
/// no connection could be made.
async fn one(traffic: &Traffic, kind: u64, request_id: Uuid) -> Option<Option<String>> {
    let request = match kind {
        0 => return left_midway(traffic, request_id).await,
        1..=4 => traffic.chat(&question("gpt-4o")),
        5..=6 => traffic.chat(&question("gpt-4-turbo")),
        7..=9 => traffic.chat(&streamed("gpt-4o")),
        10 => traffic
            .chat(&question("gpt-4o"))
            .header("x-fake-status", 500),
        11 => traffic
            .chat(&question("gpt-4o"))
            .header("x-fake-cut-after", 0),
        12 => traffic
            .chat(&streamed("gpt-4o"))
            .header("x-fake-chunk-interval-ms", 30),
        13..=16 => traffic.chat(&question("gpt-4o-kept")),
        17 => traffic
            .chat(&question("gpt-4o-kept"))
            .header("x-fake-latency-ms", 150),
        _ => traffic.chat(&streamed("gpt-4o-kept")),
    };
    let request = request.header("x-request-id", request_id.to_string());
    match traffic.try_complete(request).await {
        Ok(answer) => Some(answer.header("x-mercator-decision-id").map(str::to_owned)),
        Err(error) if error.is_connect() => None,
        Err(_) => Some(None),
    }
}

/// Sent in full, and not waited for.
async fn left_midway(traffic: &Traffic, request_id: Uuid) -> Option<Option<String>> {
    let body = question("gpt-4o").to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-request-id: {request_id}\r\n\
         content-type: application/json\r\nx-fake-latency-ms: 400\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = ("127.0.0.1", traffic.port());
    let mut socket = TcpStream::connect(address).await.ok()?;
    if socket.write_all(request.as_bytes()).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Some(None)
}

struct Report {
    recorded: usize,
    lost: usize,
    totals: String,
    /// By the client's own id of the request.
    records: HashMap<Uuid, Value>,
}

/// Waits until every exchange is accounted for. Panics on one that is recorded twice, or
/// under another id than its client was told.
async fn settled(instances: &[Instance], made: &[Made]) -> Report {
    let what = "every exchange to be recorded or listed";
    wait::until_within(Duration::from_secs(120), what, async || {
        let admin = instances[0].admin();
        // The database may just be back.
        let gaps = match admin.get("/v1/evidence/gaps?limit=1000").await {
            reply if reply.status == 200 => reply.json(),
            reply => return Err(format!("{} from the admin API", reply.status)),
        };
        let listed = Listed::of(&gaps);
        let mut records = HashMap::new();
        let stored = admin.try_evidence("").await;
        for record in stored.map_err(|reply| format!("{} from the admin API", reply.status))? {
            let id = record["request_id"]
                .as_str()
                .map(|id| Uuid::parse_str(id).expect("an id"));
            let before = records.insert(id.expect("each client names its request"), record);
            assert!(before.is_none(), "one exchange, two records: {before:?}");
        }
        let (recorded, left): (Vec<&Made>, Vec<&Made>) = made
            .iter()
            .partition(|made| records.contains_key(&made.request_id));
        for made in &recorded {
            if let Some(id) = &made.decision_id {
                assert_eq!(records[&made.request_id]["id"].as_str(), Some(id.as_str()));
            }
        }
        let open: Vec<Uuid> = left
            .iter()
            .filter(|made| !listed.has(made))
            .map(|made| made.request_id)
            .collect();
        // What came by one channel may overtake what comes by the other.
        if gaps["missing_records"] != 0 {
            return Err(format!("a place of a sequence is empty: {gaps:#}"));
        }
        if let Some(first) = open.first() {
            return Err(format!("{} are not, {first} for one; {gaps:#}", open.len()));
        }
        assert_eq!(records.len(), recorded.len(), "a record of no exchange");
        Ok(Report {
            recorded: recorded.len(),
            lost: left.len(),
            totals: listed.totals,
            records,
        })
    })
    .await
}

/// What `evidence gaps` says.
struct Listed {
    unrecorded: HashSet<Uuid>,
    /// Instance, from, until.
    ends: Vec<[String; 3]>,
    totals: String,
}

impl Listed {
    fn of(gaps: &Value) -> Listed {
        let all = |kind: &str| gaps[kind].as_array().cloned().unwrap_or_default();
        let totals = [
            "missing_records",
            "unrecorded_exchanges",
            "recovered_records",
            "unfinished_records",
            "envoy_ends_total",
        ];
        let totals = totals.map(|total| format!("{total} {}", gaps[total]));
        Listed {
            unrecorded: all("unrecorded")
                .iter()
                .filter_map(|one| Uuid::parse_str(one["request_id"].as_str()?).ok())
                .collect(),
            ends: all("envoy_ends")
                .iter()
                .map(|end| {
                    ["instance", "since", "until"]
                        .map(|key| end[key].as_str().expect("a text").to_owned())
                })
                .collect(),
            totals: totals.join(", "),
        }
    }

    fn has(&self, made: &Made) -> bool {
        let name = format!("jupiter-{}", made.instance + 1);
        let ended = |[instance, since, until]: &[String; 3]| {
            *instance == name && *since <= made.ended && made.began <= *until
        };
        self.unrecorded.contains(&made.request_id) || self.ends.iter().any(ended)
    }
}

/// The provider is asked, not the client: what reached it under a policy that wants
/// evidence first has its record.
fn assert_kept_are_recorded(instances: &[Instance], report: &Report) {
    let mut kept = 0;
    for received in instances.iter().flat_map(|one| one.provider().received()) {
        let body: Value = serde_json::from_slice(&received.body).expect("JSON");
        if !body["model"]
            .as_str()
            .is_some_and(|model| model.starts_with(KEPT))
        {
            continue;
        }
        kept += 1;
        let id = received.header("x-request-id").expect("an id");
        let id = Uuid::parse_str(id).expect("an id");
        let record = report.records.get(&id);
        let record = record.unwrap_or_else(|| panic!("{id} reached the provider unrecorded"));
        assert_eq!(record["decision"], "allow", "{record:#}");
    }
    assert!(kept > 0, "requests that need evidence reached the provider");
}
