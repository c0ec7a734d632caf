//! The checklist, row by row, against what was told.

use super::ask::{Drill, EvidenceFacts, Facts, InstanceFacts, Told};
use super::haproxy::Server;
use jupiter_evidence::rfc3339_micros;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// "Minimum 3 instances".
const INSTANCES: usize = 3;
/// Records are put in order by the clocks of instances; a minute is a wrong clock.
const CLOCK_SECONDS: i64 = 2;
/// Queries stop asking a standby that is further behind.
const LAG_MS: u64 = 30_000;
/// Sealing takes about a second.
const UNSEALED_US: u64 = 60_000_000;
/// A quarter of a year.
const DRILLED_US: u64 = 90 * 24 * 3_600_000_000;
/// An instance that delivered evidence within an hour is there.
const RECENT_US: u64 = 3_600_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    Missing,
    /// It should have been told, and was not.
    NotAnswered,
    /// No API tells it.
    ByHand,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable, for programs.
    pub id: &'static str,
    pub about: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What to do about it.
    pub way: Option<&'static str>,
}

/// What a check found.
enum Found {
    Good(String),
    Bad(String),
    NoAnswer(String),
    ByHand(String),
}

use Found::{Bad, ByHand, Good, NoAnswer};

type Row = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Facts) -> Found,
);

/// Id, what it is about, the way out, and how it is found.
const ROWS: &[Row] = &[
    (
        "instances",
        "at least 3 instances",
        "run one in each of three zones: a zone may fail while another instance is restarted",
        instances,
    ),
    (
        "load_balancer",
        "load balancer with health checks",
        "check each server at `GET /health` and name the statistics page with --haproxy-stats",
        load_balancer,
    ),
    (
        "health",
        "every part healthy",
        "`curl URL/health/deep` says which part; docs/runbooks has a page for each",
        health,
    ),
    (
        "policy",
        "a policy in force, the same everywhere",
        "put one in force with `mercator policy put`; instances of one database follow each other",
        policy,
    ),
    (
        "policy_source",
        "policies as their source has them",
        "`mercator policy source` names the file and line at fault",
        policy_source,
    ),
    (
        "versions",
        "one version everywhere",
        "finish the roll-out, or roll back",
        versions,
    ),
    (
        "clocks",
        "clocks agree within 2 s",
        "run an NTP client on every machine, this one too",
        clocks,
    ),
    (
        "database",
        "database with replication",
        "set evidence.backend: postgres with a standby that can take over: docs/guides/postgres.md",
        database,
    ),
    (
        "gaps",
        "no evidence missing",
        "`mercator evidence gaps` names what is missing, and the cause",
        gaps,
    ),
    (
        "chains",
        "evidence in unbroken sequences",
        "`mercator evidence export` and `mercator verify` say where they break",
        chains,
    ),
    (
        "sealed",
        "evidence signed within a minute",
        "docs/runbooks/evidence-unsealed.md",
        sealed,
    ),
    (
        "unscanned",
        "traffic read in full",
        "docs/reference/failure-modes.md says what each reason means and which setting closes it",
        unscanned,
    ),
    (
        "admin_tls",
        "admin API not in the clear",
        "put TLS in front of the admin API: its token goes with each request",
        admin_tls,
    ),
    (
        "zones",
        "instances spread across zones",
        "`kubectl get pods -o wide` and the zone labels of their nodes",
        |_| ByHand("instances do not know their zone".into()),
    ),
    (
        "durability",
        "a commit survives the primary",
        "on the primary: `SHOW synchronous_standby_names`, and a `sync` row in pg_stat_replication",
        |_| ByHand("whether a standby is synchronous is the database's own".into()),
    ),
    (
        "traffic_tls",
        "TLS from clients and to the database",
        "the load balancer's `bind … ssl`, and evidence.postgres.ssl_mode: verify-full",
        |_| ByHand("the configuration is not told".into()),
    ),
    (
        "backups",
        "automated backups",
        "restore the newest into an empty database and verify an export of it",
        |_| ByHand("backups are made outside".into()),
    ),
    (
        "evidence_key",
        "a copy of the key that signs evidence",
        "keep evidence.key outside the data folder, where only you can read it",
        |_| ByHand("the key is not told, nor where copies of it are".into()),
    ),
    (
        "alerts",
        "monitoring and alerts",
        "stop one instance of a test installation and see who is told",
        |_| ByHand("who is told is not known here".into()),
    ),
    (
        "drill",
        "failover tested",
        "`mercator drill run` leaves a dated report; name its folder with --drill-reports",
        drill,
    ),
    (
        "procedures",
        "recovery procedures, on-call, disaster plan",
        "read docs/runbooks with those who will be called",
        |_| ByHand("these are people's".into()),
    ),
];

pub fn all(facts: &Facts) -> Vec<Check> {
    let check = |(id, about, way, find): &Row| {
        let (verdict, found) = match find(facts) {
            Good(found) => (Verdict::Ok, found),
            Bad(found) => (Verdict::Missing, found),
            NoAnswer(why) => (Verdict::NotAnswered, why),
            ByHand(found) => (Verdict::ByHand, found),
        };
        Check {
            id,
            about,
            verdict,
            found,
            way: match verdict {
                Verdict::Missing | Verdict::ByHand => Some(*way),
                Verdict::Ok | Verdict::NotAnswered => None,
            },
        }
    };
    ROWS.iter().map(check).collect()
}

/// What every instance tells, with its address; or the first that does not.
fn each<'f, T>(
    facts: &'f Facts,
    of: impl Fn(&'f InstanceFacts) -> &'f Told<T>,
) -> Result<Vec<(&'f str, &'f T)>, Found> {
    facts
        .instances
        .iter()
        .map(|instance| match of(instance) {
            Ok(told) => Ok((instance.url.as_str(), told)),
            Err(why) => Err(NoAnswer(format!("{}: {why}", instance.url))),
        })
        .collect()
}

fn told<T>(told: &Told<T>) -> Result<&T, Found> {
    told.as_ref().map_err(|why| NoAnswer(why.clone()))
}

/// Either way it is what was found.
fn either(found: Result<Found, Found>) -> Found {
    found.unwrap_or_else(|found| found)
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn count(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// Good when nothing is wrong.
fn good_unless(wrong: Vec<String>, good: impl FnOnce() -> String) -> Found {
    match wrong.is_empty() {
        true => Good(good()),
        false => Bad(wrong.join("; ")),
    }
}

/// Those asked, those behind HAProxy, and those that delivered evidence of late:
/// whoever knows of most is right, since none of them invents one.
fn instances(facts: &Facts) -> Found {
    let answering = facts.instances.iter().filter(|i| i.health.is_ok()).count();
    let behind = match &facts.haproxy {
        Some(Ok(servers)) => names(servers.iter().filter(|s| s.is_up())).len(),
        _ => 0,
    };
    let since = rfc3339_micros(facts.now_us.saturating_sub(RECENT_US));
    let emitters = facts.evidence.emitters.as_deref().unwrap_or_default();
    let recent = emitters
        .iter()
        .filter(|e| text(e, "/last_received_at") >= since.as_str());
    let recent: BTreeSet<&str> = recent.map(|e| text(e, "/emitter")).collect();
    let most = answering.max(behind).max(recent.len());
    let found = format!(
        "{answering} answer here, {} delivered evidence in the last hour{}",
        recent.len(),
        match facts.haproxy {
            Some(Ok(_)) => format!(", {behind} are up behind HAProxy"),
            _ => String::new(),
        }
    );
    match most {
        0 => NoAnswer(found),
        most if most < INSTANCES => Bad(found),
        _ => Good(found),
    }
}

fn names<'s>(servers: impl Iterator<Item = &'s Server>) -> BTreeSet<&'s str> {
    servers.map(|server| server.name.as_str()).collect()
}

fn load_balancer(facts: &Facts) -> Found {
    let servers = match &facts.haproxy {
        None => return ByHand("without --haproxy-stats it cannot be asked".into()),
        Some(Err(why)) => return NoAnswer(format!("HAProxy: {why}")),
        Some(Ok(servers)) => servers,
    };
    // A server that is in several backends, as metrics often are, needs one check.
    let checked = names(servers.iter().filter(|server| server.is_checked()));
    let unchecked: Vec<_> = names(servers.iter())
        .difference(&checked)
        .copied()
        .collect();
    let down: Vec<String> = servers
        .iter()
        .filter(|server| server.is_checked() && !server.is_up())
        .map(|server| format!("{} is {}", server.name, server.status))
        .collect();
    let mut wrong = down;
    if !unchecked.is_empty() {
        wrong.push(format!("no health check of {}", unchecked.join(", ")));
    }
    if servers.is_empty() {
        wrong.push("HAProxy has no server".into());
    }
    good_unless(wrong, || {
        format!("{} servers checked and up", checked.len())
    })
}

fn health(facts: &Facts) -> Found {
    either(each(facts, |i| &i.health).map(|told| {
        let mut wrong = Vec::new();
        for (url, health) in &told {
            let checks = health.get("checks").and_then(Value::as_object);
            let parts = checks
                .into_iter()
                .flatten()
                .flat_map(|(name, part)| match part {
                    Value::Object(several) => several
                        .iter()
                        .map(|(one, part)| (format!("{name} {one}"), part))
                        .collect(),
                    part => vec![(name.clone(), part)],
                });
            let bad = parts.filter(|(_, part)| part.as_str() != Some("ok"));
            wrong.extend(bad.map(|(name, part)| {
                format!("{url}: {name}: {}", part.as_str().unwrap_or("unknown"))
            }));
            if text(health, "/status") != "healthy" && wrong.is_empty() {
                wrong.push(format!("{url}: {}", text(health, "/status")));
            }
        }
        good_unless(wrong, || {
            "database, evidence, providers, and a request that must be denied".into()
        })
    }))
}

fn policy(facts: &Facts) -> Found {
    either(each(facts, |i| &i.digest).map(|told| {
        let without = told.iter().filter(|(_, digest)| digest.is_none());
        let mut wrong: Vec<String> = without.map(|(url, _)| format!("{url} has none")).collect();
        let digests: BTreeSet<_> = told
            .iter()
            .filter_map(|(_, digest)| digest.as_deref())
            .collect();
        if digests.len() > 1 {
            wrong.push(format!("{} different bundles", digests.len()));
        }
        good_unless(wrong, || digests.into_iter().collect())
    }))
}

fn policy_source(facts: &Facts) -> Found {
    either(each(facts, |i| &i.source).map(|told| {
        let failed = told
            .iter()
            .filter(|(_, source)| source.get("error").is_some_and(Value::is_object));
        let failed =
            failed.map(|(url, source)| format!("{url}: {}", text(source, "/error/message")));
        let kinds: BTreeSet<&str> = told
            .iter()
            .map(|(_, source)| text(source, "/source"))
            .collect();
        good_unless(failed.collect(), || {
            kinds.into_iter().collect::<Vec<_>>().join(", ")
        })
    }))
}

fn versions(facts: &Facts) -> Found {
    either(each(facts, |i| &i.version).map(|told| {
        let versions: BTreeSet<&str> = told.iter().map(|(_, version)| version.as_str()).collect();
        let list = versions.iter().copied().collect::<Vec<_>>().join(", ");
        match versions.len() {
            1 => Good(list),
            _ => Bad(list),
        }
    }))
}

fn clocks(facts: &Facts) -> Found {
    either(each(facts, |i| &i.clock_ahead).map(|told| {
        // This machine is one of those that must agree.
        let ahead = || told.iter().map(|(_, ahead)| **ahead).chain([0]);
        let (least, most) = (ahead().min().unwrap_or(0), ahead().max().unwrap_or(0));
        let off = told.iter().filter(|(_, ahead)| ahead.abs() > CLOCK_SECONDS);
        let mut wrong: Vec<String> = off
            .map(|(url, ahead)| format!("{url} is {ahead:+} s off ours"))
            .collect();
        if wrong.is_empty() && most - least > CLOCK_SECONDS {
            wrong.push(format!("they are {} s apart", most - least));
        }
        good_unless(wrong, || {
            format!("at most {} s apart, this machine included", most - least)
        })
    }))
}

fn database(facts: &Facts) -> Found {
    either(each(facts, |i| &i.health).map(|told| {
        let Some((_, health)) = told.first() else {
            return NoAnswer("nobody was asked".into());
        };
        let Some(servers) = health.get("database_servers").and_then(Value::as_array) else {
            return Bad("evidence is in SQLite: one machine has it".into());
        };
        let of = |role| {
            servers
                .iter()
                .filter(move |server| text(server, "/role") == role)
        };
        let host = |server: &Value| text(server, "/host").to_owned();
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(of("away").map(|server| format!("{} is away", host(server))));
        wrong.extend(
            of("former_primary")
                .map(|server| format!("{} still takes writes, and is not followed", host(server))),
        );
        let late = of("standby").filter(|server| count(server, "/lag_ms") > LAG_MS);
        wrong.extend(late.map(|server| {
            format!(
                "{} is {} s behind",
                host(server),
                count(server, "/lag_ms") / 1_000
            )
        }));
        if of("primary").count() == 0 {
            wrong.push("no primary".into());
        }
        if of("standby").count() == 0 {
            wrong.push("no standby".into());
        }
        good_unless(wrong, || {
            format!("a primary and {} standby", of("standby").count())
        })
    }))
}

fn gaps(facts: &Facts) -> Found {
    either(told(&facts.evidence.gaps).map(|gaps| {
        let (missing, unrecorded) = (
            count(gaps, "/missing_records"),
            count(gaps, "/unrecorded_exchanges"),
        );
        let recovered = count(gaps, "/recovered_records");
        match missing + unrecorded {
            // What was under way in an Envoy that ended has no place to be missing from.
            0 => Good(format!(
                "none missing; {recovered} came by the access log alone, {} Envoys ended unasked",
                count(gaps, "/envoy_ends_total")
            )),
            _ => Bad(format!(
                "{missing} records missing, {unrecorded} exchanges unrecorded"
            )),
        }
    }))
}

fn chains(facts: &Facts) -> Found {
    either(told(&facts.evidence.emitters).map(|emitters| {
        let breaks: u64 = emitters
            .iter()
            .map(|emitter| count(emitter, "/chain_breaks"))
            .sum();
        match breaks {
            0 => Good(format!("{} sequences", emitters.len())),
            _ => Bad(format!("{breaks} records do not fit their neighbours")),
        }
    }))
}

fn sealed(facts: &Facts) -> Found {
    let EvidenceFacts { records, .. } = &facts.evidence;
    either(told(records).map(|records| {
        let due = rfc3339_micros(facts.now_us.saturating_sub(UNSEALED_US));
        let waiting = records
            .iter()
            .filter(|(record, sealed)| !sealed && text(record, "/time") < due.as_str());
        match (waiting.count(), records.len()) {
            (_, 0) => Good("there is no record yet".into()),
            (0, n) => Good(format!("the newest {n} records are")),
            (waiting, n) => Bad(format!(
                "{waiting} of the newest {n} records wait for more than a minute"
            )),
        }
    }))
}

fn unscanned(facts: &Facts) -> Found {
    either(told(&facts.evidence.records).map(|records| {
        let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
        for (record, _) in records {
            for side in ["request", "response"] {
                if text(record, &format!("/{side}_inspection")) == "unscanned" {
                    let reason = text(record, &format!("/{side}_unscanned_reason"));
                    *reasons.entry(format!("{side} {reason}")).or_default() += 1;
                }
            }
        }
        let list: Vec<String> = reasons
            .iter()
            .map(|(reason, n)| format!("{reason} {n}"))
            .collect();
        match list.is_empty() {
            true => Good(format!("of the newest {} records, all", records.len())),
            false => Bad(format!(
                "of the newest {} records: {}",
                records.len(),
                list.join(", ")
            )),
        }
    }))
}

fn drill(facts: &Facts) -> Found {
    let drills = match &facts.drills {
        None => return ByHand("without --drill-reports it cannot be looked up".into()),
        Some(Err(why)) => return NoAnswer(why.clone()),
        Some(Ok(drills)) => drills,
    };
    // Of each kind the newest counts: what failed once may have been mended.
    let mut newest: BTreeMap<&str, &Drill> = BTreeMap::new();
    for drill in drills.iter().filter(|drill| !drill.local) {
        let known = newest.entry(&drill.drill).or_insert(drill);
        if known.started_at < drill.started_at {
            *known = drill;
        }
    }
    let since = rfc3339_micros(facts.now_us.saturating_sub(DRILLED_US));
    let recent = newest
        .values()
        .copied()
        .filter(|drill| drill.started_at >= since);
    let (held, failed): (Vec<&Drill>, Vec<&Drill>) = recent.partition(|drill| drill.held);
    match (held.is_empty(), failed.is_empty()) {
        (false, true) => {
            let names: Vec<_> = held.iter().map(|drill| drill.drill.as_str()).collect();
            Good(names.join(", "))
        }
        (true, true) => Bad("no drill in the last 90 days".into()),
        (_, false) => {
            let names: Vec<_> = failed.iter().map(|drill| drill.drill.as_str()).collect();
            Bad(format!("objectives not held in {}", names.join(", ")))
        }
    }
}

fn admin_tls(facts: &Facts) -> Found {
    let open = facts.instances.iter().filter(|instance| !instance.private);
    let open: Vec<String> = open.map(|i| format!("{} is plain HTTP", i.url)).collect();
    good_unless(open, || "TLS, or on this machine".into())
}

#[cfg(test)]
mod tests;
