//! What a configuration file may say, and how it is told off.

use std::path::Path;
use std::time::Duration;

use super::*;

const NO_ENV: &dyn Fn(&str) -> Option<String> = &|_| None;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, "mercator.yaml", NO_ENV)
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8081");
    assert_eq!(config.envoy.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.envoy.stream_idle_timeout, Duration::from_secs(300));
    assert_eq!(config.evidence.on_full, OnFull::DropCounted);
    assert!(config.providers.is_empty());
    assert_eq!(Config::load(None, |_| None, &[]).unwrap(), config);
}

#[test]
fn the_sample_is_read_completely() {
    let config = Config::load(
        Some(&root().join("envoy/mercator.yaml")),
        |name| (name == "OPENAI_API_KEY").then(|| "sk-secret".to_owned()),
        &[],
    )
    .unwrap();
    assert_eq!(config.instance, "jupiter-1");
    assert!(!config.envoy.manage);
    let openai = config.provider(ProviderKind::OpenAi).unwrap();
    assert_eq!(openai.base_url.to_string(), "https://api.openai.com/v1");
    assert_eq!(openai.api_key.as_ref().unwrap().expose(), "sk-secret");
    let anthropic = config.provider(ProviderKind::Anthropic).unwrap();
    assert_eq!(anthropic.base_url.to_string(), "https://api.anthropic.com");
    assert_eq!(anthropic.api_key, None);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_name() {
    assert_eq!(
        refusal("envoy:\n  lisen: 0.0.0.0:80\n"),
        "mercator.yaml: line 2, column 3: `envoy.lisen`: unknown key; did you mean `listen`?"
    );
    let far = refusal("admin: {wibble: 1}");
    assert!(far.contains("unknown key; known here: listen"), "{far}");
    let nested = refusal("providers:\n  - {name: a, kind: openai, base_url: 'http://h', key: x}");
    assert!(
        nested.contains("line 2") && nested.contains("`providers[0].key`"),
        "{nested}"
    );
}

#[test]
fn every_fault_is_reported_at_once() {
    let text = "region: a b\nadmin: {listen: nowhere}\nevidence:\n  backend: mongo\nextra: 1\n";
    let refusal = refusal(text);
    let lines: Vec<&str> = refusal.lines().collect();
    assert_eq!(lines.len(), 4, "{refusal}");
    assert!(refusal.contains("line 4, column 3: `evidence.backend`: `mongo` is not known here"));
}

#[test]
fn an_unset_variable_is_named_at_its_line_and_no_value_is_told() {
    let text = "providers:\n  - name: o\n    kind: openai\n    base_url: http://h/v1\n    api_key: \"${OPENAI_API_KEY}\"\n";
    let refusal = refusal(text);
    assert!(refusal.contains("line 5"), "{refusal}");
    assert!(
        refusal.contains("environment variable `OPENAI_API_KEY` is not set"),
        "{refusal}"
    );

    let env = |name: &str| (name == "OPENAI_API_KEY").then(|| "top secret\n key".to_owned());
    let error = Config::parse(text, "f", &env).unwrap_err().to_string();
    assert!(
        error.contains("printable ASCII") && !error.contains("top"),
        "{error}"
    );
}

#[test]
fn a_variable_overrides_the_file_and_is_blamed_for_its_faults() {
    let env = |name: &str| match name {
        "MERCATOR_ADMIN__LISTEN" => Some("127.0.0.1:1".to_owned()),
        "MERCATOR_DATA_DIR" => Some("/d".to_owned()),
        _ => None,
    };
    let config = Config::parse("admin: {listen: 127.0.0.1:2}", "f", &env).unwrap();
    assert_eq!(config.admin.listen.port(), 1);
    assert_eq!(config.data_dir, Path::new("/d"));

    let env = |name: &str| (name == "MERCATOR_ENVOY__CONCURRENCY").then(|| "many".to_owned());
    let error = Config::parse("", "environment", &env)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "environment: environment variable `MERCATOR_ENVOY__CONCURRENCY`: `envoy.concurrency`: `many` is not a whole number from 1 to 128"
    );
}

#[test]
fn a_misspelt_override_is_refused_and_other_variables_are_let_be() {
    let refused = |name: &str| match Config::load(None, |_| None, &[name.to_owned()]) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    for (misspelt, meant) in [
        ("MERCATOR_ADMIN__LISTN", "MERCATOR_ADMIN__LISTEN"),
        ("MERCATOR_ADMIN_LISTEN", "MERCATOR_ADMIN__LISTEN"),
        ("MERCATOR_DATADIR", "MERCATOR_DATA_DIR"),
        ("MERCATOR_ENVIROMENT", "MERCATOR_ENVIRONMENT"),
        ("MERCATOR_SERVR", "MERCATOR_SERVER"),
    ] {
        assert_eq!(
            refused(misspelt),
            format!(
                "environment: environment variable `{misspelt}`: no such key; did you mean `{meant}`?"
            )
        );
    }
    let told = refused("MERCATOR_STORAGE__ENGINE");
    assert!(
        told.contains("`MERCATOR_ADMIN__LISTEN` stands for `admin.listen`"),
        "{told}"
    );
    for other in [
        "MERCATOR_DATA_DIR",
        "MERCATOR_ENVOY__LISTEN",
        "MERCATOR_LOG",
        "MERCATOR_PORT",
        "MERCATOR_PORT_8081_TCP_ADDR",
        "MERCATOR_SERVICE_HOST",
        "MERCATOR_ADMIN_SERVICE_PORT",
        "PATH",
        "ADMIN__LISTN",
    ] {
        assert_eq!(refused(other), "", "{other}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let text = "providers: [{name: o, kind: openai, base_url: 'http://h', api_key: sk-verysecret}]";
    let config = parse(text).unwrap();
    assert!(!format!("{config:?}").contains("verysecret"));
}

#[test]
fn what_is_missing_twice_or_of_the_wrong_shape_is_refused() {
    for (text, expected) in [
        ("- a", "a mapping of keys is expected"),
        ("admin: 3", "`admin`: a mapping of keys is expected"),
        ("region: [a]", "`region`: a single value is expected"),
        ("providers: {}", "`providers`: a list is expected"),
        (
            "providers: [a]",
            "`providers[0]`: a mapping of keys is expected",
        ),
        (
            "providers: [{}]",
            "`providers[0].name`: this key is required",
        ),
        ("region: a\nregion: b", "line 2"),
        ("a: 1\n---\nb: 2", "more than one YAML document"),
        ("region: \"x", "line 1"),
        (
            "providers: [{name: a, kind: openai, base_url: 'http://h'}, {name: a, kind: openai, base_url: 'http://h'}]",
            "the name `a` is taken",
        ),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(expected), "{text}: {refusal}");
    }
}

#[test]
fn durations_have_units() {
    for (text, millis) in [
        ("250ms", 250),
        ("300s", 300_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
    ] {
        assert_eq!(values::duration(text), Ok(Duration::from_millis(millis)));
    }
    for text in [
        "",
        "5",
        "0s",
        "-1s",
        "1.5s",
        "1d",
        "99999999999999999999h",
        "999h",
        "s",
    ] {
        assert!(values::duration(text).is_err(), "{text}");
    }
}

#[test]
fn subject_is_told_completely_or_refused() {
    let config = parse(
        "subject:\n  jwt: {issuer: 'https://i/', audiences: 'a, b', jwks_uri: 'https://i/keys', \
         claims: {roles: groups}}\n  header: {name: x-user, trusted: '10.0.0.0/8 ::1'}",
    )
    .unwrap();
    let jwt = config.subject.jwt.unwrap();
    assert_eq!(jwt.audiences, ["a", "b"]);
    assert_eq!((jwt.required, jwt.forward), (true, false));
    assert_eq!(
        (jwt.claims.user_id.as_str(), jwt.claims.roles.as_str()),
        ("sub", "groups")
    );
    assert_eq!(config.subject.header.unwrap().trusted.len(), 2);
    assert_eq!(parse("").unwrap().subject, SubjectConfig::default());
    for (text, word) in [
        ("jwt: {issuer: i}", "jwks_uri"),
        (
            "jwt: {issuer: i, jwks_file: k, jwks_uri: 'https://i/'}",
            "jwks_uri",
        ),
        ("jwt: {jwks_file: k}", "issuer"),
        ("header: {name: x-user}", "trusted"),
        ("header: {trusted: 10.0.0.0/8}", "name"),
        ("header: {name: X-User, trusted: '::1'}", "small letters"),
        (
            "header: {name: x-user, trusted: 10.0.0.0/40}",
            "10.0.0.0/40",
        ),
    ] {
        let refusal = refusal(&format!("subject: {{{text}}}"));
        assert!(refusal.contains(word), "{text}: {refusal}");
    }
}

#[test]
fn bundles_may_be_asked_to_be_confirmed_every_few_seconds() {
    let config = parse("inspection: {max_staleness: 60s}").unwrap();
    let most = config.inspection.max_staleness;
    assert_eq!(most, Some(Duration::from_secs(60)));
    assert_eq!(parse("").unwrap().inspection.max_staleness, None);
    assert!(refusal("inspection: {max_staleness: 3s}").contains("4s"));
}

#[test]
fn base_urls_are_taken_apart() {
    let url = BaseUrl::parse("https://api.openai.com/v1/").unwrap();
    assert_eq!((url.tls, url.port, url.path.as_str()), (true, 443, "/v1"));
    let url = BaseUrl::parse("http://[::1]:8000").unwrap();
    assert_eq!((url.host.as_str(), url.path.as_str()), ("::1", ""));
    assert_eq!(url.authority(), "[::1]:8000");
    for text in [
        "",
        "api.openai.com",
        "ftp://h",
        "http://u:p@h",
        "http://h?x=1",
        "http://",
    ] {
        assert!(BaseUrl::parse(text).is_err(), "{text}");
    }
    let error = BaseUrl::parse("http://user:hunter2@h").unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn any_text_is_answered_without_a_panic() {
    use proptest::prelude::*;
    proptest!(|(text in ".{0,200}")| { let _ = parse(&text); });
    proptest!(|(text in "[a-z:{}\\[\\]\\$ \n\"'&*!|>-]{0,80}")| { let _ = parse(&text); });
}

/// The keys and defaults the program reads are the ones the reference tells of.
#[test]
fn the_reference_documents_every_key_and_default() {
    let key = jupiter_evidence::tree::Cosigner::new("w", &[1; 32]).unwrap();
    let key = key.verifier().to_string();
    let mut document = Document::new(NO_ENV);
    let mut section = document
        .parse(
            "providers: [{name: a, kind: openai, base_url: 'http://h'}]\n\
             prices: [{model: a, input: 1, output: 2}]\n\
             evidence: {retention: {labels: [{label: a, keep: ever}]}, \
             cosigners: [{url: 'http://w', key: 'KEY'}]}"
                .replace("KEY", &key)
                .as_str(),
        )
        .unwrap();
    read(&mut document, &mut section).unwrap();
    let known: Vec<(String, String)> = document
        .known()
        .iter()
        .map(|known| {
            let default = match (known.key.as_str(), known.default.as_deref()) {
                ("instance", _) => "the machine's name".to_owned(),
                ("envoy.ca_file", _) => "the system's".to_owned(),
                (_, None) => "required".to_owned(),
                (_, Some("")) => "empty".to_owned(),
                (_, Some(default)) => format!("`{default}`"),
            };
            (known.key.replace("[0]", "[]"), default)
        })
        .collect();

    let text = std::fs::read_to_string(root().join("docs/reference/configuration.md")).unwrap();
    let documented: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let key = cells.next()?.strip_suffix('`')?;
            Some((key.to_owned(), cells.next()?.to_owned()))
        })
        .collect();
    assert_eq!(documented, known);
}
