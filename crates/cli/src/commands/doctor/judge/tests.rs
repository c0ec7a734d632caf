//! Each check on an installation that has everything, and on one that lacks
//! just what it is about.

use super::*;
use serde_json::json;

const NOW: u64 = 1_795_367_345_000_000;

fn instance(number: usize) -> InstanceFacts {
    let health = json!({
        "status": "healthy",
        "checks": {
            "database": "ok", "providers": {"openai": "ok"},
            "policy_engine": "ok", "evidence_storage": "ok",
        },
        "uptime_seconds": 1,
        "database_servers": [
            {"host": "a:5432", "role": "primary"},
            {"host": "b:5432", "role": "standby", "lag_ms": 10},
        ],
    });
    InstanceFacts {
        url: format!("https://jupiter{number}"),
        private: true,
        health: Ok(health),
        version: Ok("1.0.0".into()),
        digest: Ok(Some("sha256:a".into())),
        source: Ok(json!({"source": "git", "error": null})),
        clock_ahead: Ok(0),
    }
}

fn server(number: usize) -> Server {
    Server {
        backend: "mercator".into(),
        name: format!("jupiter{number}"),
        status: "UP".into(),
    }
}

fn drilled(kind: &str, days_ago: u64, held: bool) -> Drill {
    Drill {
        drill: kind.into(),
        started_at: rfc3339_micros(NOW - days_ago * 24 * 3_600_000_000),
        held,
        local: false,
    }
}

fn emitter(number: usize, received_us: u64) -> Value {
    json!({
        "emitter": format!("jupiter-{number}"), "chain_breaks": 0,
        "last_received_at": rfc3339_micros(received_us),
    })
}

fn record(us: u64) -> Value {
    json!({"time": rfc3339_micros(us), "request_inspection": "inspected", "response_inspection": "none"})
}

fn whole() -> Facts {
    Facts {
        now_us: NOW,
        instances: (1..=3).map(instance).collect(),
        haproxy: Some(Ok((1..=3).map(server).collect())),
        drills: Some(Ok(vec![drilled("kill-instance", 1, true)])),
        evidence: EvidenceFacts {
            gaps: Ok(
                json!({"missing_records": 0, "unrecorded_exchanges": 0, "recovered_records": 2}),
            ),
            emitters: Ok((1..=3).map(|n| emitter(n, NOW - 1_000_000)).collect()),
            // The newest has a second to get its place.
            records: Ok(vec![
                (record(NOW - 1_000), false),
                (record(NOW - 90_000_000), true),
            ]),
        },
    }
}

/// What is not well once something was changed.
#[track_caller]
fn lacks(change: impl FnOnce(&mut Facts), expected: &[(&str, Verdict)]) {
    let mut facts = whole();
    change(&mut facts);
    let bad = all(&facts)
        .into_iter()
        .filter(|check| matches!(check.verdict, Verdict::Missing | Verdict::NotAnswered));
    let bad: Vec<_> = bad
        .map(|check| (check.id, check.verdict, check.found))
        .collect();
    let ids: Vec<_> = bad.iter().map(|(id, verdict, _)| (*id, *verdict)).collect();
    assert_eq!(ids, expected, "{bad:?}");
}

fn set(value: &mut Told<Value>, pointer: &str, to: Value) {
    *value.as_mut().unwrap().pointer_mut(pointer).unwrap() = to;
}

#[test]
fn installation_that_has_everything_lacks_nothing() {
    lacks(|_| (), &[]);
    let by_hand = all(&whole())
        .into_iter()
        .filter(|c| c.verdict == Verdict::ByHand);
    assert!(by_hand.count() >= 7, "what cannot be asked is still listed");
}

#[test]
fn two_instances_are_too_few_whoever_counts() {
    let two = |facts: &mut Facts| {
        facts.instances.pop();
        facts.haproxy.as_mut().unwrap().as_mut().unwrap().pop();
        facts.evidence.emitters.as_mut().unwrap().pop();
    };
    lacks(two, &[("instances", Verdict::Missing)]);
    // Any one of the three who knows of a third is enough.
    lacks(
        |f| {
            two(f);
            f.instances.push(instance(3))
        },
        &[],
    );
    lacks(
        |f| {
            two(f);
            f.haproxy
                .as_mut()
                .unwrap()
                .as_mut()
                .unwrap()
                .push(server(3))
        },
        &[],
    );
    let delivered = |us| {
        move |f: &mut Facts| {
            two(f);
            f.evidence.emitters.as_mut().unwrap().push(emitter(3, us));
        }
    };
    lacks(delivered(NOW - 60_000_000), &[]);
    lacks(
        delivered(NOW - 7_200_000_000),
        &[("instances", Verdict::Missing)],
    );
}

#[test]
fn server_that_is_down_or_never_checked_is_told() {
    let status = |status: &'static str| {
        move |f: &mut Facts| {
            f.haproxy.as_mut().unwrap().as_mut().unwrap()[1].status = status.into();
        }
    };
    lacks(status("DOWN"), &[("load_balancer", Verdict::Missing)]);
    lacks(status("no check"), &[("load_balancer", Verdict::Missing)]);
    lacks(
        |f| f.haproxy = Some(Err("refused".into())),
        &[("load_balancer", Verdict::NotAnswered)],
    );
    // Nobody said where it is: that is to be looked at, and nothing is missing.
    lacks(|f| f.haproxy = None, &[]);
}

#[test]
fn part_that_is_not_well_is_told() {
    for part in [
        "/checks/database",
        "/checks/providers/openai",
        "/checks/policy_engine",
    ] {
        let ill = |f: &mut Facts| set(&mut f.instances[1].health, part, json!("timeout"));
        lacks(ill, &[("health", Verdict::Missing)]);
    }
    lacks(
        |f| set(&mut f.instances[0].health, "/status", json!("degraded")),
        &[("health", Verdict::Missing)],
    );
}

#[test]
fn policy_must_be_there_and_be_the_same() {
    lacks(
        |f| f.instances[1].digest = Ok(None),
        &[("policy", Verdict::Missing)],
    );
    lacks(
        |f| f.instances[1].digest = Ok(Some("sha256:b".into())),
        &[("policy", Verdict::Missing)],
    );
    let fault = json!({"source": "git", "error": {"message": "a.yaml:3: no such field"}});
    lacks(
        |f| f.instances[1].source = Ok(fault),
        &[("policy_source", Verdict::Missing)],
    );
}

#[test]
fn versions_and_clocks_must_agree() {
    lacks(
        |f| f.instances[1].version = Ok("1.0.1".into()),
        &[("versions", Verdict::Missing)],
    );
    lacks(|f| f.instances[1].clock_ahead = Ok(-2), &[]);
    lacks(
        |f| f.instances[1].clock_ahead = Ok(3),
        &[("clocks", Verdict::Missing)],
    );
    // Each near enough to ours, and too far from each other.
    lacks(
        |f| {
            f.instances[0].clock_ahead = Ok(-2);
            f.instances[1].clock_ahead = Ok(2);
        },
        &[("clocks", Verdict::Missing)],
    );
}

#[test]
fn database_needs_a_primary_and_a_standby_that_keeps_up() {
    let servers = |servers: Value| {
        move |f: &mut Facts| {
            set(&mut f.instances[0].health, "/database_servers", servers);
        }
    };
    let primary = json!({"host": "a", "role": "primary"});
    for lacking in [
        json!([primary]),
        json!([{"host": "b", "role": "standby", "lag_ms": 0}]),
        json!([primary, {"host": "b", "role": "standby", "lag_ms": 31_000}]),
        json!([primary, {"host": "b", "role": "standby"}, {"host": "c", "role": "away"}]),
        json!([primary, {"host": "b", "role": "standby"}, {"host": "c", "role": "former_primary"}]),
        json!(null),
    ] {
        lacks(servers(lacking), &[("database", Verdict::Missing)]);
    }
}

#[test]
fn missing_broken_unsigned_and_unread_evidence_is_told() {
    for gap in ["/missing_records", "/unrecorded_exchanges"] {
        lacks(
            |f| set(&mut f.evidence.gaps, gap, json!(1)),
            &[("gaps", Verdict::Missing)],
        );
    }
    lacks(
        |f| f.evidence.emitters.as_mut().unwrap()[0]["chain_breaks"] = json!(1),
        &[("chains", Verdict::Missing)],
    );
    lacks(
        |f| f.evidence.records.as_mut().unwrap()[1].1 = false,
        &[("sealed", Verdict::Missing)],
    );
    lacks(
        |f| {
            let record = &mut f.evidence.records.as_mut().unwrap()[0].0;
            record["request_inspection"] = json!("unscanned");
            record["request_unscanned_reason"] = json!("unknown_api");
        },
        &[("unscanned", Verdict::Missing)],
    );
}

#[test]
fn drill_must_be_recent_and_must_have_held() {
    let drills = |drills: Vec<Drill>| move |f: &mut Facts| f.drills = Some(Ok(drills));
    let missing = [("drill", Verdict::Missing)];
    lacks(drills(vec![]), &missing);
    lacks(drills(vec![drilled("partition", 91, true)]), &missing);
    // On an installation that is gone.
    let elsewhere = Drill {
        local: true,
        ..drilled("partition", 1, true)
    };
    lacks(drills(vec![elsewhere]), &missing);
    let kill = || drilled("kill-instance", 3, true);
    lacks(
        drills(vec![kill(), drilled("partition", 2, false)]),
        &missing,
    );
    // What failed, and held when it was tried again, is mended.
    let again = vec![
        drilled("partition", 2, false),
        kill(),
        drilled("partition", 1, true),
    ];
    lacks(drills(again), &[]);
    lacks(|f| f.drills = None, &[]);
}

#[test]
fn admin_api_in_the_clear_is_told() {
    lacks(
        |f| f.instances[2].private = false,
        &[("admin_tls", Verdict::Missing)],
    );
}

#[test]
fn silence_is_never_a_yes() {
    let silent = |f: &mut Facts| {
        for instance in &mut f.instances {
            let no = || "connection refused".to_owned();
            instance.health = Err(no());
            instance.version = Err(no());
            instance.digest = Err(no());
            instance.source = Err(no());
            instance.clock_ahead = Err(no());
        }
        f.haproxy = None;
        f.drills = None;
        let no = || "refused with 401".to_owned();
        f.evidence = EvidenceFacts {
            gaps: Err(no()),
            emitters: Err(no()),
            records: Err(no()),
        };
    };
    let mut facts = whole();
    silent(&mut facts);
    let well = all(&facts)
        .into_iter()
        .filter(|check| check.verdict == Verdict::Ok);
    assert_eq!(
        well.map(|check| check.id).collect::<Vec<_>>(),
        ["admin_tls"]
    );
}
