//! What is scraped at 9090 tells of the exchanges that were, with labels, and of
//! nothing that a request said.

use std::collections::BTreeMap;

use jupiter_testkit::{Instance, wait};
use reqwest::Method;

use crate::support::{GUARD, REFUSED_MODEL, ask, question, record_of};

/// Notes answers that name a city.
const CITIES: &str = "
mpl_version: '1.0'
name: cities
version: 1.0.0
rules:
  - name: named-cities
    when: response.text.contains('Lisbon')
    actions: [{type: log, level: info, message: a city}]
";

/// What there is to be scraped, by the name of each family.
const REFERENCE: &str = include_str!("../../../docs/reference/metrics.md");

/// Samples by name and labels as they stand in the text.
type Samples = BTreeMap<String, f64>;

/// The scraped text, held to the grammar of OpenMetrics as far as we write it: every
/// sample belongs to the family above it, and the text ends where it says. The reference
/// has every family.
async fn scrape(instance: &Instance) -> Samples {
    let reply = instance.metrics().get("/metrics").await.expect(200);
    let text = String::from_utf8(reply.body).expect("text");
    let body = text.strip_suffix("# EOF\n").expect("an end mark");
    let mut samples = Samples::new();
    let (mut family, mut kind) = ("", "");
    let mut families = std::collections::BTreeSet::new();
    for line in body.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            let mut words = head.splitn(3, ' ');
            let (word, name, rest) = (words.next(), words.next(), words.next());
            let name = name.expect("a family's name");
            match word {
                Some("HELP") => {
                    assert!(families.insert(name), "{name} is told twice");
                    assert!(rest.is_some_and(|help| help.ends_with('.')), "{line}");
                    let row = format!("| `{name}` |");
                    assert!(
                        REFERENCE.contains(&row),
                        "docs/reference/metrics.md: {line}"
                    );
                    family = name;
                }
                Some("TYPE") => {
                    assert!(name == family || families.insert(name), "{line}");
                    (family, kind) = (name, rest.expect("a kind"));
                }
                Some("UNIT") => {}
                other => panic!("{other:?} in {line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        let bare = name.split('{').next().unwrap_or_default();
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            _ => &[""],
        };
        let belongs = suffixes
            .iter()
            .any(|suffix| bare.strip_suffix(suffix) == Some(family));
        assert!(belongs, "{line} under {kind} {family}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(
            samples.insert(name.to_owned(), value).is_none(),
            "{line} twice"
        );
    }
    samples
}

/// The sum of all samples of a name that have all of these labels.
fn value(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
    samples
        .iter()
        .filter(|(sample, _)| sample.split('{').next() == Some(name))
        .filter(|(sample, _)| {
            labels
                .iter()
                .all(|(label, value)| sample.contains(&format!("{label}=\"{value}\"")))
        })
        .map(|(_, value)| value)
        .sum()
}

#[tokio::test]
async fn counts_move_with_the_exchanges_and_carry_their_labels() {
    let builder = Instance::builder().policy("guard", GUARD);
    let instance = builder.policy("cities", CITIES).start().await;
    for (model, count) in [("gpt-4o", 3), (REFUSED_MODEL, 2)] {
        for _ in 0..count {
            let answer = ask(&instance, &question(model)).await;
            record_of(&instance, &answer).await;
        }
    }
    let traffic = instance.traffic();
    let answered = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-reply", "It is Lisbon.");
    assert_eq!(traffic.complete(answered).await.status, 200);
    let malformed = traffic
        .request(Method::POST, "/v1/chat/completions")
        .header("content-type", "application/json")
        .body("{\"sekret-in-a-broken-body");
    assert_eq!(traffic.complete(malformed).await.status, 400);

    // Envoy adds up what its workers counted when it is asked, and histograms every five seconds.
    let samples = wait::until("seven decisions", async || {
        let samples = scrape(&instance).await;
        let seen = [
            value(&samples, "mercator_decisions_total", &[]),
            value(
                &samples,
                "mercator_inspection_duration_microseconds_count",
                &[],
            ),
        ];
        match seen {
            [7.0, 7.0] => Ok(samples),
            _ => Err(samples),
        }
    })
    .await;
    // Nobody asked for telemetry.
    assert!(!samples.keys().any(|name| name.contains("_otel_")));
    let one = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    assert_eq!(
        one("mercator_decisions_total", &[("verdict", "allow")]),
        4.0
    );
    assert_eq!(one("mercator_decisions_total", &[("verdict", "deny")]), 2.0);
    assert_eq!(
        one("mercator_decisions_total", &[("verdict", "error")]),
        1.0
    );
    let rule = [("policy", "guard"), ("effect", "deny"), ("mode", "enforce")];
    assert_eq!(one("mercator_rule_matches_total", &rule), 2.0);
    let rule = [("policy", "cities"), ("effect", "log"), ("mode", "enforce")];
    assert_eq!(one("mercator_rule_matches_total", &rule), 1.0);
    let malformed = [("direction", "request"), ("reason", "malformed_json")];
    assert_eq!(one("mercator_unscanned_total", &malformed), 1.0);
    assert!(one("mercator_request_bytes_total", &[]) > 100.0);
    assert!(one("mercator_response_bytes_total", &[]) > 100.0);
    assert_eq!(one("mercator_envoy_stats_up", &[]), 1.0);
    let digest = instance.digest_in_force().await.expect("a bundle");
    let digest = digest.trim_start_matches("sha256:");
    assert_eq!(
        one("mercator_filter_bundle_info", &[("digest", digest)]),
        1.0
    );
    for sample in samples.keys() {
        for said in ["capital", "Lisbon", "gpt-4", "sk-test", "sekret", "key:"] {
            assert!(!sample.contains(said), "{sample}");
        }
    }
}
