//! Runs the cases, judges each, and writes down what was seen.
//!
//! `MERCATOR_FAILOVER=all` tries every case, `=outage` the one without control
//! planes and database, `=KillEnvoy,FreezeEnvoy` those; `MERCATOR_FAILOVER_GONE` says
//! for how many seconds control planes and database are gone, `MERCATOR_BLESS=1` writes
//! the table. Cases that drop packets need a network of their own, which
//! `scripts/failover.sh` makes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jupiter_testkit::load::{Kind, OpenLoad, Tally};
use jupiter_testkit::{project_root, wait};
use serde_json::Value;

use crate::cases::Case;
use crate::front::Evidence;
use crate::installation::Installation;

/// How long a part stays broken.
const HELD: Duration = Duration::from_secs(3);

/// What was seen of one case.
struct Row {
    case: Case,
    held: Duration,
    tally: Tally,
    evidence: Evidence,
}

/// What was seen of POSTs with a key when an Envoy was killed.
struct Keyed {
    asked: usize,
    again: usize,
}

async fn tried(case: Case, installation: &mut Installation, held: Duration) -> Row {
    let load = installation.front.load(case.asked()).await;
    case.happen(installation, held).await;
    installation.front.wait_until_well().await;
    let tally = load.stop().await;
    let (postgres, primary) = (&installation.postgres, installation.primary);
    let ids = || Ok(postgres.sql(primary, "SELECT id FROM evidence"));
    let evidence = installation.front.evidence_of(&tally, ids).await;
    Row {
        case,
        held,
        tally,
        evidence,
    }
}

fn gone_for() -> Duration {
    let seconds = std::env::var("MERCATOR_FAILOVER_GONE").ok();
    let seconds = seconds.map(|text| text.parse().expect("a number of seconds"));
    seconds.map_or(HELD, Duration::from_secs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_costs_no_more_than_is_written_down() {
    let which = std::env::var("MERCATOR_FAILOVER").unwrap_or_default();
    let (all, cases) = match which.as_str() {
        "all" => (true, Case::ALL.to_vec()),
        "outage" => (false, vec![Case::NoControlPlaneAndNoDatabase]),
        "" => (false, Case::CHEAP.to_vec()),
        names => (false, names.split(',').map(Case::named).collect()),
    };
    let mut installation = Installation::start().await;
    let mut rows = Vec::new();
    for case in cases {
        let held = match case {
            Case::NoControlPlaneAndNoDatabase => gone_for(),
            _ => HELD,
        };
        eprintln!("{case:?}");
        let row = tried(case, &mut installation, held).await;
        eprintln!("{}", row.tally);
        eprintln!(
            "{} answers were given again so far",
            replayed(&installation)
        );
        let cost = case.cost();
        installation
            .front
            .judge(&row.tally, row.evidence, |kind| cost.allows(kind));
        assert!(case.kills_an_envoy() || row.evidence.listed == 0);
        rows.push(row);
    }
    let keyed = keyed_posts_outlive_an_envoy(&mut installation).await;
    installation.front.verify();
    if all && std::env::var_os("MERCATOR_BLESS").is_some() {
        let replayed = replayed(&installation);
        std::fs::write(document(), page(&rows, &keyed, replayed))
            .expect("docs/failover.md can be written");
    }
}

/// Clients with keys notice nothing of an Envoy that is killed with their requests in
/// hand, and what then runs again is recorded as such.
async fn keyed_posts_outlive_an_envoy(installation: &mut Installation) -> Keyed {
    let before = run_again(installation);
    let load = OpenLoad::start(
        &installation.front.haproxy.traffic(),
        30,
        &[Kind::SlowKeyed],
    );
    let first = installation.first();
    let idle = first.provider().received().len();
    wait::until("requests in flight", async || {
        match first.provider().received().len() - idle {
            many if many >= 20 => Ok(()),
            few => Err(few),
        }
    })
    .await;
    first.kill_envoy().await;
    first.wait_for_traffic().await;
    installation.front.wait_until_well().await;
    let tally = load.stop().await;
    eprintln!("Keyed POSTs outlive an Envoy\n{tally}");
    let faults: Vec<_> = tally.faults().collect();
    let log = installation.front.haproxy.log();
    assert!(faults.is_empty(), "{faults:#?}\n{tally}\n{log}");
    let (postgres, primary) = (&installation.postgres, installation.primary);
    let ids = || Ok(postgres.sql(primary, "SELECT id FROM evidence"));
    let evidence = installation.front.evidence_of(&tally, ids).await;
    assert_eq!((evidence.lost, evidence.doubled), (0, 0));
    let again = run_again(installation) - before;
    assert!(again > 0, "nothing was in hand");
    Keyed {
        asked: tally.count(Kind::SlowKeyed),
        again,
    }
}

/// How many requests got the answer that was given to them before.
fn replayed(installation: &Installation) -> usize {
    let (postgres, primary) = (&installation.postgres, installation.primary);
    let records = postgres.sql(primary, "SELECT record FROM evidence");
    let again = records.lines().filter(|line| {
        let record: Value = serde_json::from_str(line).expect("a record");
        record["idempotency_run"] == "replayed"
    });
    again.count()
}

/// How many requests reached providers again under their keys: no more than records say.
fn run_again(installation: &Installation) -> usize {
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for instance in &installation.front.instances {
        for request in instance.provider().received() {
            if let Some(key) = request.header("idempotency-key") {
                *reached.entry(key.to_owned()).or_default() += 1;
            }
        }
    }
    let twice = reached.values().map(|times| times - 1).sum::<usize>();
    let (postgres, primary) = (&installation.postgres, installation.primary);
    let records = postgres.sql(primary, "SELECT record FROM evidence");
    let told = records.lines().filter(|line| {
        let record: Value = serde_json::from_str(line).expect("a record");
        let run = &record["idempotency_run"];
        run == "again" || run == "unprotected"
    });
    let told = told.count();
    assert!(twice <= told, "{twice} ran more than once, {told} say so");
    eprintln!("{twice} requests reached a provider again under their keys, {told} records say so");
    twice
}

#[test]
fn every_case_is_a_row_of_the_table() {
    let table = std::fs::read_to_string(document()).expect("docs/failover.md");
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let begins: Vec<String> = rows
        .skip(2)
        .map(|row| row.split('|').take(3).collect::<Vec<_>>().join("|"))
        .collect();
    let due = Case::ALL.iter().map(|case| {
        let (component, fault) = case.names();
        format!("| {component} | {fault} ")
    });
    assert_eq!(begins, due.collect::<Vec<_>>());
}

fn document() -> PathBuf {
    project_root().join("docs/failover.md")
}

fn page(rows: &[Row], keyed: &Keyed, replayed: usize) -> String {
    let mut page = String::from(
        "# What a fault costs\n\
         \n\
         Written by `just failover`, which breaks a whole installation piece by piece: HAProxy with \
         `envoy/haproxy/haproxy.cfg`, three instances, a Postgres primary and two standbys of which one \
         confirms each commit. Clients ask at a fixed rate, each time on a connection of its own and \
         never twice; a POST takes 50 ms, a stream one second. A keyed POST has an \
         `Idempotency-Key`, so HAProxy may send it again (`docs/guides/idempotency.md`); where \
         packets are dropped before Envoy and where it is frozen there are eleven times as many, of which \
         a third takes half a second. Answers are kept (`idempotency.keep_answers`): where one was \
         given and lost on its way, who asks again gets it. What every commit has to pass is in `tests/tests/failover/cases.rs`.\n\
         \n\
         Of each kind: requests that failed / that were asked. The gap is the time from the first \
         request that failed to the last. *Lost*: answered, with neither a record nor a place in a \
         list; *listed*: answered just before an Envoy was killed, without a record, and within a time that \
         `mercator evidence gaps` lists for it (`docs/concepts/evidence.md`); *doubled*: recorded twice. In every case streams that were cut ended in an error, never as if complete, nothing \
         that the policy refuses was let through, the log contained every earlier checkpoint, and in \
         the end all of it was verified offline.\n\
         \n\
         | component | fault | for | GET | POST | keyed POST | refused POST | stream | gap | lost | listed | doubled |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let (component, fault) = row.case.names();
        let _ = write!(page, "| {component} | {fault} | {} s |", row.held.as_secs());
        for kind in Kind::ALL {
            let kinds = match kind {
                Kind::Keyed => vec![Kind::Keyed, Kind::SlowKeyed],
                other => vec![other],
            };
            let faults: usize = kinds.iter().map(|kind| row.tally.faults_of(*kind)).sum();
            let asked: usize = kinds.iter().map(|kind| row.tally.count(*kind)).sum();
            let _ = write!(page, " {faults} / {asked} |");
        }
        let gap = match row.tally.gap() {
            none if none.is_zero() => "–".to_owned(),
            gap => format!("{:.1} s", gap.as_secs_f64()),
        };
        let Evidence {
            lost,
            listed,
            doubled,
        } = row.evidence;
        let _ = writeln!(page, " {gap} | {lost} | {listed} | {doubled} |");
    }
    let Keyed { asked, again } = keyed;
    let _ = write!(
        page,
        "\nAfter these cases an Envoy was killed (`kill -9`) while {asked} POSTs with an \
         `Idempotency-Key` were asked that each take half a second: none of them failed. {again} \
         that it had in hand ran again on another instance, and their records say so. In all cases \
         together {replayed} keyed POSTs got an answer that was given and lost on its way.\n"
    );
    page
}
