//! Who asks is known for certain or not at all: by a token that Envoy verified, by a
//! header of a trusted peer, else by the digest of the API key.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jupiter_testkit::{Answer, Instance};
use serde_json::{Value, json};

use crate::support::{assert_record, question, reached_provider, record_of};

/// Marketing may use `gpt-4o-mini` alone; administrators anything.
const DEPARTMENTS: &str = include_str!("../../../examples/policies/departments.yaml");

const ISSUER: &str = "https://login.example/";

/// The issuer's key pair, and the tokens it signs.
struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Issuer {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Issuer(pair.expect("a key pair"))
    }

    /// Its public key, for Envoy to verify with.
    fn write_keys(&self, path: &Path) {
        // Uncompressed: one byte of form, then the two coordinates.
        let point = self.0.public_key().as_ref();
        let coordinates = point.get(1..).and_then(|both| both.split_at_checked(32));
        let (x, y) = coordinates.expect("a point of P-256");
        let keys = json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "one",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]});
        std::fs::write(path, keys.to_string()).expect("the keys are written");
    }

    fn token(&self, claims: &Value) -> String {
        let head = json!({"alg": "ES256", "typ": "JWT", "kid": "one"});
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&head), encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

/// Claims of a token that is valid for an hour.
fn claims(user: &str, department: &str, roles: &[&str]) -> Value {
    json!({
        "iss": ISSUER, "aud": "jupiter", "sub": user, "exp": now() + 3_600,
        "org": {"department": department}, "roles": roles,
    })
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}

/// An instance that takes tokens of `issuer`, in `Authorization` unless said otherwise.
async fn with_tokens(issuer: &Issuer, extra: &str) -> (Instance, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("jwks.json");
    issuer.write_keys(&keys);
    let instance = Instance::builder()
        .policy("departments", DEPARTMENTS)
        .subject(&format!(
            "jwt: {{issuer: \"{ISSUER}\", audiences: \"jupiter, other\", jwks_file: \"{}\", \
             claims: {{department: org.department, roles: roles}}{extra}}}",
            keys.display()
        ))
        .provider_keys("sk-of-the-instance", "sk-ant-of-the-instance")
        .start()
        .await;
    (instance, folder)
}

async fn ask_with(instance: &Instance, headers: &[(&str, &str)], model: &str) -> Answer {
    let traffic = instance.traffic();
    let request = traffic
        .request(reqwest::Method::POST, "/v1/chat/completions")
        .header("content-type", "application/json")
        .body(question(model).to_string());
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    traffic.complete(request).await
}

#[tokio::test]
async fn claims_of_a_verified_token_decide_and_name_the_subject() {
    let issuer = Issuer::new();
    let (instance, _keys) = with_tokens(&issuer, "").await;
    for (claims, model, status) in [
        (claims("ada", "marketing", &["author"]), "gpt-4o", 403),
        (claims("ada", "marketing", &["author"]), "gpt-4o-mini", 200),
        (
            claims("ada", "marketing", &["author", "admin"]),
            "gpt-4o",
            200,
        ),
        (claims("ada", "research", &[]), "gpt-4o", 200),
    ] {
        let bearer = format!("Bearer {}", issuer.token(&claims));
        let answer = ask_with(&instance, &[("authorization", &bearer)], model).await;
        assert_eq!(
            answer.status,
            status,
            "{claims}, {model}: {}",
            answer.text()
        );
        let record = record_of(&instance, &answer).await;
        assert_record(&record, &json!({"subject": "jwt:ada"}));
    }
    assert_eq!(reached_provider(&instance), 3);
}

#[tokio::test]
async fn every_attribute_a_token_tells_is_asked_by_policies() {
    // One rule for each, and each for a model of its own.
    let rule = |model: &str, field: &str, test: &str| {
        format!(
            "  - name: {model}\n    conditions:\n      \
             - {{field: request.model, operator: \"==\", value: {model}}}\n      \
             - {{field: context.user_attributes.{field}, {test}}}\n    \
             actions: [{{type: deny, message: no, code: {model}}}]\n"
        )
    };
    let rules = [
        rule("gpt-of-tier", "tier", "operator: \"!=\", value: gold"),
        rule(
            "gpt-of-region",
            "region",
            "operator: not_in, value: [eu, ch]",
        ),
        rule(
            "gpt-of-department",
            "department",
            "operator: starts_with, value: ext",
        ),
        rule("gpt-of-roles", "roles", "operator: contains, value: intern"),
        rule(
            "gpt-of-user",
            "user_id",
            "operator: ends_with, value: \"@partner\"",
        ),
    ];
    let policy = format!(
        "mpl_version: \"1.0\"\nname: attributes\nversion: 1.0.0\nrules:\n{}",
        rules.concat()
    );
    let issuer = Issuer::new();
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("jwks.json");
    issuer.write_keys(&keys);
    let instance = Instance::builder()
        .policy("attributes", &policy)
        .subject(&format!(
            "jwt: {{issuer: \"{ISSUER}\", audiences: jupiter, jwks_file: \"{}\", claims: \
             {{tier: plan, region: org.region, department: org.department, roles: roles}}}}",
            keys.display()
        ))
        .provider_keys("sk-of-the-instance", "sk-ant-of-the-instance")
        .start()
        .await;
    let token = |user: &str, tier: &str, region: &str, department: &str, role: &str| {
        let mut claims = claims(user, department, &[role]);
        claims["plan"] = json!(tier);
        claims["org"]["region"] = json!(region);
        format!("Bearer {}", issuer.token(&claims))
    };
    let welcome = token("ada", "gold", "eu", "research", "author");
    let other = token("bob@partner", "free", "us", "external", "intern");
    for model in [
        "gpt-of-tier",
        "gpt-of-region",
        "gpt-of-department",
        "gpt-of-roles",
        "gpt-of-user",
    ] {
        let answer = ask_with(&instance, &[("authorization", &welcome)], model).await;
        assert_eq!(answer.status, 200, "{model}: {}", answer.text());
        let answer = ask_with(&instance, &[("authorization", &other)], model).await;
        assert_eq!(answer.status, 403, "{model}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], model);
    }
    assert_eq!(reached_provider(&instance), 5);
}

#[tokio::test]
async fn time_of_day_decides_by_the_clock_of_the_machine() {
    // The hour may end while this is asked, and with it the day.
    let at = now();
    let hours = [at, at + 3_600].map(|at| at / 3_600 % 24);
    let names = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    let days = [at, at + 3_600].map(|at| names[(at / 86_400 % 7) as usize]);
    let rule = |name: &str, field: &str, operator: &str, values: String| {
        format!(
            "  - name: {name}\n    conditions:\n      \
             - {{field: request.model, operator: \"==\", value: {name}}}\n      \
             - {{field: context.time.{field}, operator: {operator}, value: [{values}]}}\n    \
             actions: [{{type: deny, message: \"refused at {{{{ context.time.hour }}}} h\", code: {name}}}]\n"
        )
    };
    let (hours, days) = (hours.map(|it| it.to_string()).join(", "), days.join(", "));
    let policy = format!(
        "mpl_version: \"1.0\"\nname: hours\nversion: 1.0.0\nrules:\n{}{}{}{}",
        rule("gpt-in-this-hour", "hour", "in", hours.clone()),
        rule("gpt-in-other-hours", "hour", "not_in", hours),
        rule("gpt-on-this-day", "day_of_week", "in", days.clone()),
        rule("gpt-on-other-days", "day_of_week", "not_in", days),
    );
    let instance = Instance::builder().policy("hours", &policy).start().await;
    for (model, status) in [
        ("gpt-in-this-hour", 403),
        ("gpt-in-other-hours", 200),
        ("gpt-on-this-day", 403),
        ("gpt-on-other-days", 200),
    ] {
        let answer = ask_with(&instance, &[("authorization", "Bearer sk-test")], model).await;
        assert_eq!(answer.status, status, "{model}: {}", answer.text());
    }
    assert_eq!(reached_provider(&instance), 2);
}

#[tokio::test]
async fn token_that_does_not_hold_is_refused_and_recorded() {
    let issuer = Issuer::new();
    let (instance, _keys) = with_tokens(&issuer, "").await;
    let with = |key: &str, value: Value| {
        let mut claims = claims("ada", "research", &[]);
        claims[key] = value;
        claims
    };
    let expired = issuer.token(&with("exp", json!(now() - 3_600)));
    let other_audience = issuer.token(&with("aud", json!("someone-else")));
    let other_issuer = issuer.token(&with("iss", json!("https://login.evil/")));
    let forged = Issuer::new().token(&claims("ada", "research", &[]));
    let no_end = {
        let mut claims = claims("ada", "research", &[]);
        claims.as_object_mut().map(|claims| claims.remove("exp"));
        issuer.token(&claims)
    };
    let unsigned = {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let claims = claims("ada", "research", &[]);
        format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&claims))
    };
    for (what, token, code) in [
        ("expired", expired.as_str(), "token_rejected"),
        ("of another audience", &other_audience, "token_rejected"),
        ("of another issuer", &other_issuer, "token_rejected"),
        ("of another key", &forged, "token_rejected"),
        ("without an end", &no_end, "token_rejected"),
        ("unsigned", &unsigned, "token_rejected"),
        ("no token", "sk-test", "token_rejected"),
        ("none", "", "token_required"),
    ] {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let shown = if token.is_empty() {
            &headers[..0]
        } else {
            &headers[..]
        };
        let answer = ask_with(&instance, shown, "gpt-4o").await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], code, "{what}");
        let record = record_of(&instance, &answer).await;
        assert_record(
            &record,
            &json!({
                "decision": "deny", "reason": code, "outcome": "refused",
                "subject": null, "http.response.status_code": 401,
            }),
        );
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn token_stays_out_of_the_provider_and_of_every_log() {
    let issuer = Issuer::new();
    let (mut instance, _keys) = with_tokens(&issuer, ", header: x-identity").await;
    let token = issuer.token(&claims("ada", "research", &[]));
    let headers = [
        ("x-identity", token.as_str()),
        ("authorization", "Bearer sk-test"),
    ];
    let answer = ask_with(&instance, &headers, "gpt-4o").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    record_of(&instance, &answer).await;
    for request in instance.provider().received() {
        assert_eq!(request.header("x-identity"), None);
        assert!(!format!("{:?}", request.headers).contains(&token));
    }
    instance.stop().await;
    let signature = token.rsplit('.').next().expect("three parts");
    assert!(!instance.all_logs().contains(signature));
    for line in instance.access_log() {
        assert!(!line.to_string().contains(signature), "{line}");
    }
}

#[tokio::test]
async fn token_that_is_not_required_leaves_the_api_key_to_tell() {
    let issuer = Issuer::new();
    let (instance, _keys) = with_tokens(&issuer, ", header: x-identity, required: false").await;
    let answer = ask_with(&instance, &[("authorization", "Bearer sk-test")], "gpt-4o").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = record_of(&instance, &answer).await;
    let subject = record["subject"].as_str().expect("a subject");
    assert!(
        subject.starts_with("key:") && !subject.contains("sk-test"),
        "{subject}"
    );
    let answer = ask_with(&instance, &[("x-identity", "not.a.token")], "gpt-4o").await;
    assert_eq!(answer.status, 401, "{}", answer.text());
}

#[tokio::test]
async fn header_names_the_subject_only_when_a_trusted_peer_sets_it() {
    for (trusted, expected) in [("127.0.0.0/8, ::1", "header:ada"), ("10.0.0.0/8", "key:")] {
        let instance = Instance::builder()
            .policy("departments", DEPARTMENTS)
            .subject(&format!(
                "header: {{name: x-user-id, trusted: \"{trusted}\"}}"
            ))
            .start()
            .await;
        let headers = [
            ("authorization", "Bearer sk-test"),
            ("x-user-id", "ada"),
            ("x-forwarded-for", "10.0.0.1"),
        ];
        let answer = ask_with(&instance, &headers, "gpt-4o").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = record_of(&instance, &answer).await;
        let subject = record["subject"].as_str().expect("a subject");
        assert!(subject.starts_with(expected), "{trusted}: {subject}");
        for request in instance.provider().received() {
            assert_eq!(request.header("x-user-id"), None, "{trusted}");
        }
    }
}
