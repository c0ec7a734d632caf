//! What is made of variables, good and bad.

use super::*;

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let get = |name: &str| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::read(&get)
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

#[test]
fn nothing_is_exported_unless_a_variable_asks() {
    for off in [
        &[][..],
        &[
            ("OTEL_SERVICE_NAME", "jupiter"),
            ("OTEL_TRACES_SAMPLER", "always_on"),
        ],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
        &[
            ENDPOINT,
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "none"),
        ],
    ] {
        let settings = read(off).unwrap();
        assert!(
            settings.traces.is_none() && settings.metrics.is_none(),
            "{off:?}"
        );
    }
}

#[test]
fn each_signal_goes_where_its_variables_say() {
    let endpoint = |variables: &[(&str, &str)]| {
        let settings = read(variables).unwrap();
        let traces = settings.traces.map(|it| it.target.endpoint.to_string());
        let metrics = settings.metrics.map(|it| it.target.endpoint.to_string());
        (traces, metrics)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        endpoint(&[ENDPOINT]),
        (
            some("http://collector:4318/v1/traces"),
            some("http://collector:4318/v1/metrics")
        )
    );
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otel/")]).0,
        some("https://c/otel/v1/traces")
    );
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/as-it-is")]),
        (some("http://c/as-it-is"), None)
    );
    assert_eq!(
        endpoint(&[("OTEL_METRICS_EXPORTER", "otlp")]),
        (None, some("http://localhost:4318/v1/metrics"))
    );
    assert_eq!(
        endpoint(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]).0,
        None
    );
}

#[test]
fn values_are_those_of_the_environment() {
    let settings = read(&[
        ENDPOINT,
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "api-key=one%2Ctwo, x-team = risk",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=other"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "1500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "250"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=a,deployment.environment.name=pr%20od",
        ),
        ("OTEL_SERVICE_NAME", "jupiter"),
    ])
    .unwrap();
    assert!(!format!("{settings:?}").contains("two"), "{settings:?}");
    let (traces, metrics) = (settings.traces.unwrap(), settings.metrics.unwrap());
    let headers = |target: &Target| -> Vec<(String, String)> {
        let header = |(name, value): &(String, Secret)| (name.clone(), value.expose().into());
        target.headers.iter().map(header).collect()
    };
    assert_eq!(
        headers(&traces.target),
        [("api-key", "one,two"), ("x-team", "risk")].map(|(n, v)| (n.into(), v.into()))
    );
    assert_eq!(
        headers(&metrics.target),
        [("api-key".into(), "other".into())]
    );
    assert!(traces.target.gzip);
    assert_eq!(traces.target.timeout, Duration::from_millis(1_500));
    assert_eq!(metrics.target.timeout, Duration::from_millis(2_000));
    assert_eq!((traces.queue, traces.batch), (100, 100));
    assert_eq!(metrics.interval, Duration::from_millis(250));
    assert_eq!(metrics.temporality, Temporality::Delta);
    let last = |key: &str| {
        let found = settings
            .resource
            .iter()
            .rev()
            .find(|it| it.key.as_str() == key);
        found.map(|it| it.value.to_string())
    };
    assert_eq!(last("service.name").as_deref(), Some("jupiter"));
    assert_eq!(
        last("deployment.environment.name").as_deref(),
        Some("pr od")
    );
}

#[test]
fn sampler_is_the_one_named() {
    let sampler = |name: &str, ratio: &str| {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_TRACES_SAMPLER", name),
            ("OTEL_TRACES_SAMPLER_ARG", ratio),
        ]);
        format!("{:?}", settings.unwrap().traces.unwrap().sampler)
    };
    for (name, ratio, expected) in [
        ("", "", "ParentBased(AlwaysOn)"),
        ("parentbased_always_on", "", "ParentBased(AlwaysOn)"),
        ("parentbased_always_off", "", "ParentBased(AlwaysOff)"),
        (
            "parentbased_traceidratio",
            "0.25",
            "ParentBased(TraceIdRatioBased(0.25))",
        ),
        ("traceidratio", "", "TraceIdRatioBased(1.0)"),
        ("always_on", "", "AlwaysOn"),
        ("always_off", "", "AlwaysOff"),
    ] {
        assert_eq!(sampler(name, ratio), expected, "{name}");
    }
}

#[test]
fn bad_value_is_named_by_its_variable_and_not_quoted() {
    for (variable, value) in [
        ("OTEL_SDK_DISABLED", "hush"),
        ("OTEL_TRACES_EXPORTER", "hush"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "hush:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:hush@collector"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "hush"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hush"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hush%0A"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/hush.pem"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "3000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "hush"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1e3"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "hush"),
        ("OTEL_RESOURCE_ATTRIBUTES", "hush"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%FF"),
    ] {
        let said = read(&[(variable, value), ENDPOINT])
            .unwrap_err()
            .to_string();
        assert!(said.starts_with(&format!("`{variable}` ")), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
    let arg = ("OTEL_TRACES_SAMPLER_ARG", "1.5");
    let said = read(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), arg]);
    let said = said.unwrap_err().to_string();
    assert_eq!(
        said,
        "`OTEL_TRACES_SAMPLER_ARG` must be a number from 0 to 1"
    );
}
