//! Reads what the `OTEL_*` variables ask for.
//!
//! Nothing is exported unless one of them asks for it. A value that cannot be followed is
//! an error that names its variable; no value is quoted, since any of them may have been
//! mistaken for the one with the credentials. Empty is unset, as OpenTelemetry has it.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use crate::config::Secret;

/// What is exported, to whom.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who we are, in the words of the environment; `service.name` at least.
    pub(super) resource: Vec<KeyValue>,
    pub(super) traces: Option<TraceSettings>,
    pub(super) metrics: Option<MetricSettings>,
}

#[derive(Debug, Clone)]
pub(super) struct TraceSettings {
    pub(super) target: Target,
    pub(super) sampler: Sampler,
    /// Spans that may wait.
    pub(super) queue: usize,
    /// Spans of one request.
    pub(super) batch: usize,
    /// How long a span waits for others.
    pub(super) delay: Duration,
}

#[derive(Debug, Clone)]
pub(super) struct MetricSettings {
    pub(super) target: Target,
    pub(super) interval: Duration,
    pub(super) temporality: Temporality,
}

/// A receiver of one signal.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) endpoint: Url,
    pub(super) headers: Vec<(String, Secret)>,
    /// Of one export, all attempts together.
    pub(super) timeout: Duration,
    pub(super) gzip: bool,
}

/// Why the environment cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("`{variable}` must be {wanted}")]
    Malformed {
        variable: String,
        wanted: &'static str,
    },
    #[error("`{variable}` is not supported: {instead}")]
    Unsupported {
        variable: String,
        instead: &'static str,
    },
}

/// Traces or metrics, as variables and addresses name them.
#[derive(Debug, Clone, Copy)]
struct Signal {
    variable: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal {
    variable: "TRACES",
    path: "v1/traces",
};
const METRICS: Signal = Signal {
    variable: "METRICS",
    path: "v1/metrics",
};

/// Where a collector listens that nobody named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";
const DEFAULT_SERVICE: &str = "mercator";
/// Milliseconds, as the next ones; all are OpenTelemetry's defaults.
const DEFAULT_TIMEOUT: u64 = 10_000;
const DEFAULT_DELAY: u64 = 5_000;
const DEFAULT_INTERVAL: u64 = 60_000;
const DEFAULT_QUEUE: u64 = 2_048;
const DEFAULT_BATCH: u64 = 512;
/// A queue of spans takes about two kilobytes for each.
const MOST_SPANS: u64 = 100_000;
const LONGEST: u64 = 24 * 60 * 60 * 1_000;

impl Settings {
    /// Follows the variables that `get` knows.
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsError> {
        let env = Environment(get);
        if env.is_true("OTEL_SDK_DISABLED")? {
            return Ok(Settings::default());
        }
        let traces = match env.target(TRACES)? {
            Some(target) => Some(env.traces(target)?),
            None => None,
        };
        let metrics = match env.target(METRICS)? {
            Some(target) => Some(env.metrics(target)?),
            None => None,
        };
        let resource = match traces.is_some() || metrics.is_some() {
            true => env.resource()?,
            false => Vec::new(),
        };
        Ok(Settings {
            resource,
            traces,
            metrics,
        })
    }
}

struct Environment<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Environment<'_> {
    fn get(&self, variable: &str) -> Option<String> {
        let value = (self.0)(variable)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The signal's own variable, else the one for all signals; and its name.
    fn of_signal(&self, signal: Signal, what: &str) -> Option<(String, String)> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.variable);
        let common = format!("OTEL_EXPORTER_OTLP_{what}");
        [own, common]
            .into_iter()
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn is_true(&self, variable: &str) -> Result<bool, SettingsError> {
        match self.get(variable).map(|it| it.to_ascii_lowercase()) {
            None => Ok(false),
            Some(it) if it == "true" => Ok(true),
            Some(it) if it == "false" => Ok(false),
            Some(_) => Err(malformed(variable, "`true` or `false`")),
        }
    }

    fn number(&self, variable: &str, default: u64, most: u64) -> Result<u64, SettingsError> {
        match self.get(variable) {
            None => Ok(default),
            Some(text) => number(variable, &text, most),
        }
    }

    fn millis(&self, variable: &str, default: u64) -> Result<Duration, SettingsError> {
        self.number(variable, default, LONGEST)
            .map(Duration::from_millis)
    }

    /// Whom a signal goes to; `None` when nobody asks for it.
    fn target(&self, signal: Signal) -> Result<Option<Target>, SettingsError> {
        let exporter = format!("OTEL_{}_EXPORTER", signal.variable);
        let endpoint = self.of_signal(signal, "ENDPOINT");
        match (self.get(&exporter).as_deref(), &endpoint) {
            (Some("otlp"), _) | (None, Some(_)) => {}
            (Some("none"), _) | (None, None) => return Ok(None),
            (Some(_), _) => return Err(malformed(&exporter, "`otlp` or `none`")),
        }
        for what in ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            if let Some((variable, _)) = self.of_signal(signal, what) {
                return Err(SettingsError::Unsupported {
                    variable,
                    instead: "the collector's certificate is checked against the authorities of \
                              the system",
                });
            }
        }
        if let Some((variable, value)) = self.of_signal(signal, "PROTOCOL")
            && value != "http/protobuf"
        {
            return Err(malformed(&variable, "`http/protobuf`, the one supported"));
        }
        let gzip = match self.of_signal(signal, "COMPRESSION") {
            None => false,
            Some((_, value)) if value == "none" => false,
            Some((_, value)) if value == "gzip" => true,
            Some((variable, _)) => return Err(malformed(&variable, "`gzip` or `none`")),
        };
        let timeout = match self.of_signal(signal, "TIMEOUT") {
            None => DEFAULT_TIMEOUT,
            Some((variable, value)) => number(&variable, &value, LONGEST)?,
        };
        let headers = match self.of_signal(signal, "HEADERS") {
            None => Vec::new(),
            Some((variable, value)) => headers(&variable, &value)?,
        };
        Ok(Some(Target {
            endpoint: endpoint_of(signal, endpoint)?,
            headers,
            timeout: Duration::from_millis(timeout),
            gzip,
        }))
    }

    fn traces(&self, target: Target) -> Result<TraceSettings, SettingsError> {
        let queue = self.number("OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_QUEUE, MOST_SPANS)?;
        let batch = self.number(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            DEFAULT_BATCH.min(queue),
            MOST_SPANS,
        )?;
        if batch > queue {
            return Err(malformed(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "no more than `OTEL_BSP_MAX_QUEUE_SIZE`",
            ));
        }
        let export = self.millis("OTEL_BSP_EXPORT_TIMEOUT", LONGEST)?;
        Ok(TraceSettings {
            target: target.within(export),
            sampler: self.sampler()?,
            queue: queue as usize,
            batch: batch as usize,
            delay: self.millis("OTEL_BSP_SCHEDULE_DELAY", DEFAULT_DELAY)?,
        })
    }

    fn metrics(&self, target: Target) -> Result<MetricSettings, SettingsError> {
        let variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
        let preferred = self.get(variable).map(|it| it.to_ascii_lowercase());
        let temporality = match preferred.as_deref() {
            None | Some("cumulative") => Temporality::Cumulative,
            Some("delta") => Temporality::Delta,
            Some("lowmemory") => Temporality::LowMemory,
            Some(_) => {
                return Err(malformed(variable, "`cumulative`, `delta` or `lowmemory`"));
            }
        };
        let export = self.millis("OTEL_METRIC_EXPORT_TIMEOUT", LONGEST)?;
        Ok(MetricSettings {
            target: target.within(export),
            interval: self.millis("OTEL_METRIC_EXPORT_INTERVAL", DEFAULT_INTERVAL)?,
            temporality,
        })
    }

    fn sampler(&self) -> Result<Sampler, SettingsError> {
        let variable = "OTEL_TRACES_SAMPLER";
        let ratio = || -> Result<Sampler, SettingsError> {
            let variable = "OTEL_TRACES_SAMPLER_ARG";
            let ratio = match self.get(variable) {
                None => 1.0,
                Some(text) => text
                    .parse()
                    .ok()
                    .filter(|ratio| (0.0..=1.0).contains(ratio))
                    .ok_or_else(|| malformed(variable, "a number from 0 to 1"))?,
            };
            Ok(Sampler::TraceIdRatioBased(ratio))
        };
        let parent_based = |root: Sampler| Sampler::ParentBased(Box::new(root));
        match self.get(variable).as_deref() {
            None | Some("parentbased_always_on") => Ok(parent_based(Sampler::AlwaysOn)),
            Some("parentbased_always_off") => Ok(parent_based(Sampler::AlwaysOff)),
            Some("parentbased_traceidratio") => ratio().map(parent_based),
            Some("always_on") => Ok(Sampler::AlwaysOn),
            Some("always_off") => Ok(Sampler::AlwaysOff),
            Some("traceidratio") => ratio(),
            Some(_) => Err(malformed(
                variable,
                "`always_on`, `always_off`, `traceidratio`, or one of them after `parentbased_`",
            )),
        }
    }

    fn resource(&self) -> Result<Vec<KeyValue>, SettingsError> {
        let variable = "OTEL_RESOURCE_ATTRIBUTES";
        let wanted = "pairs `key=value` between commas, percent-encoded";
        let text = self.get(variable).unwrap_or_default();
        let mut attributes = vec![KeyValue::new("service.name", DEFAULT_SERVICE)];
        for (key, value) in pairs(&text).ok_or_else(|| malformed(variable, wanted))? {
            attributes.push(KeyValue::new(key, value));
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            attributes.push(KeyValue::new("service.name", name));
        }
        Ok(attributes)
    }
}

impl Target {
    fn within(mut self, timeout: Duration) -> Target {
        self.timeout = self.timeout.min(timeout);
        self
    }

    /// Where it is, without what may be secret.
    pub(super) fn host(&self) -> String {
        let host = self.endpoint.host_str().unwrap_or_default();
        let port = self.endpoint.port_or_known_default().unwrap_or_default();
        format!("{host}:{port}")
    }
}

fn malformed(variable: &str, wanted: &'static str) -> SettingsError {
    SettingsError::Malformed {
        variable: variable.to_owned(),
        wanted,
    }
}

fn number(variable: &str, text: &str, most: u64) -> Result<u64, SettingsError> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    let wanted = match most {
        LONGEST => "milliseconds, from 1 to those of a day",
        _ => "a number from 1 to 100000",
    };
    number.ok_or_else(|| malformed(variable, wanted))
}

/// The signal's own address as it is; under the common one the signal has its path.
fn endpoint_of(signal: Signal, given: Option<(String, String)>) -> Result<Url, SettingsError> {
    let common = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let (variable, text) = given.unwrap_or((common.to_owned(), DEFAULT_ENDPOINT.to_owned()));
    let wanted = "an address such as `http://collector:4318`; credentials belong into \
                  `OTEL_EXPORTER_OTLP_HEADERS`";
    let mut url = Url::parse(&text).map_err(|_| malformed(&variable, wanted))?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_plain {
        return Err(malformed(&variable, wanted));
    }
    if variable == common {
        let path = format!("{}/{}", url.path().trim_end_matches('/'), signal.path);
        url.set_path(&path);
    }
    Ok(url)
}

fn headers(variable: &str, text: &str) -> Result<Vec<(String, Secret)>, SettingsError> {
    let wanted = "headers `name=value` between commas, their values percent-encoded";
    let pairs = pairs(text).ok_or_else(|| malformed(variable, wanted))?;
    let is_header = |(name, value): &(String, String)| {
        name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok()
    };
    match pairs.iter().all(is_header) {
        true => Ok(pairs
            .into_iter()
            .map(|(name, value)| (name, Secret::new(value)))
            .collect()),
        false => Err(malformed(variable, wanted)),
    }
}

/// `a=1,b=2`; values are percent-encoded, an empty element is none.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    text.split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .map(|element| {
            let (key, value) = element.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let key = key.trim();
            (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
