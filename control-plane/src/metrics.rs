//! What this process counts, in the names operators see.
//!
//! One registry for each [`crate::app::App`], so that several in one process
//! do not mix. No label ever holds a prompt, a subject, a model or a key.
//! Names are documented where they are registered.

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What is sent to whoever scrapes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabels {
    pub operation: &'static str,
    pub result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BundleLabels {
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordLabels {
    pub source: &'static str,
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BatchLabels {
    pub source: &'static str,
    pub result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    pub method: &'static str,
    /// The template, never the path itself.
    pub route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    pub method: &'static str,
    pub route: String,
    /// `2xx` and so on.
    pub status_class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CosignLabels {
    pub result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CosignerLabels {
    pub cosigner: String,
    pub result: &'static str,
}

/// Families to be shown. One that has no sample yet is shown as well, without: whoever
/// scrapes sees what there is to be seen, and the reference lists it.
#[derive(Debug)]
pub struct Families<'a>(&'a mut Registry);

impl Families<'_> {
    pub fn register(&mut self, name: &str, help: &str, metric: impl Metric) {
        self.0.register(name, help, Shown(metric));
    }
}

/// Never empty to the registry, which leaves out what is.
#[derive(Debug)]
struct Shown<M>(M);

impl<M: Metric> EncodeMetric for Shown<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// All instruments; each is cheap to use from anywhere.
pub struct Metrics {
    registry: Mutex<Registry>,
    pub policies: Gauge,
    pub bundle: Family<BundleLabels, Gauge>,
    pub bundle_published_at: Gauge,
    pub publishes: Family<PublishLabels, Counter>,
    pub evidence_records: Family<RecordLabels, Counter>,
    pub evidence_batches: Family<BatchLabels, Counter>,
    pub evidence_append_seconds: Histogram,
    pub evidence_queue_bytes: Gauge,
    pub evidence_queue_records: Gauge,
    pub chain_breaks: Counter,
    pub emitter_epochs: Gauge,
    pub emitter_missing: Gauge,
    pub answers_stored: Counter,
    pub answers_given_again: Counter,
    pub answers_missing: Counter,
    pub cosign_submissions: Family<CosignLabels, Counter>,
    pub cosigner_answers: Family<CosignerLabels, Counter>,
    pub db_up: Gauge,
    pub envoy_stats_up: Gauge,
    pub http_requests: Family<AnswerLabels, Counter>,
    pub http_seconds: Family<RouteLabels, Histogram>,
    pub http_in_flight: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// From half a millisecond, a commit on a fast disk, to the longest a request may take.
fn seconds() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    ])
}

impl Metrics {
    pub fn new() -> Metrics {
        let metrics = Metrics {
            registry: Mutex::new(Registry::with_prefix("mercator")),
            policies: Gauge::default(),
            bundle: Family::default(),
            bundle_published_at: Gauge::default(),
            publishes: Family::default(),
            evidence_records: Family::default(),
            evidence_batches: Family::default(),
            evidence_append_seconds: seconds(),
            evidence_queue_bytes: Gauge::default(),
            evidence_queue_records: Gauge::default(),
            chain_breaks: Counter::default(),
            answers_stored: Counter::default(),
            answers_given_again: Counter::default(),
            answers_missing: Counter::default(),
            cosign_submissions: Family::default(),
            cosigner_answers: Family::default(),
            emitter_epochs: Gauge::default(),
            emitter_missing: Gauge::default(),
            db_up: Gauge::default(),
            envoy_stats_up: Gauge::default(),
            http_requests: Family::default(),
            http_seconds: Family::new_with_constructor(seconds),
            http_in_flight: Gauge::default(),
        };
        metrics.register_all();
        metrics
    }

    /// Adds instruments of other parts; names get the prefix `mercator_`.
    pub fn register(&self, add: impl FnOnce(&mut Families<'_>)) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut Families(&mut registry));
    }

    /// The text to scrape, with families that were counted elsewhere.
    pub fn encode(&self, others: &str) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        text::encode_registry(&mut text, &registry)?;
        text.push_str(others);
        text::encode_eof(&mut text)?;
        Ok(text)
    }

    fn register_all(&self) {
        self.register(|r| {
            let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
            r.register("build", "The program that runs", build);
        });
        self.register(|r| self.register_policies(r));
        self.register(|r| self.register_evidence(r));
        self.register(|r| self.register_answers(r));
        self.register(|r| self.register_http(r));
    }

    fn register_policies(&self, r: &mut Families<'_>) {
        r.register("policies", "Policies in force", self.policies.clone());
        r.register(
            "bundle_info",
            "1 for the bundle in force",
            self.bundle.clone(),
        );
        r.register(
            "bundle_published_timestamp_seconds",
            "Unix time since which the bundle is in force",
            self.bundle_published_at.clone(),
        );
        r.register(
            "publish",
            "Changes of policies by operation and result",
            self.publishes.clone(),
        );
    }

    fn register_evidence(&self, r: &mut Families<'_>) {
        r.register(
            "evidence_records",
            "Records received, by channel and what became of them",
            self.evidence_records.clone(),
        );
        r.register(
            "evidence_batches",
            "Deliveries of records, by channel and result",
            self.evidence_batches.clone(),
        );
        r.register(
            "evidence_append_seconds",
            "Time from a delivery to its durable commit",
            self.evidence_append_seconds.clone(),
        );
        r.register(
            "evidence_queue_bytes",
            "Bytes of evidence waiting for their commit",
            self.evidence_queue_bytes.clone(),
        );
        r.register(
            "evidence_queue_records",
            "Records waiting for their commit",
            self.evidence_queue_records.clone(),
        );
        r.register(
            "evidence_chain_breaks",
            "Records that do not fit their neighbours in an emitter's sequence",
            self.chain_breaks.clone(),
        );
        r.register(
            "emitter_epochs",
            "Sequences of emitters in the database",
            self.emitter_epochs.clone(),
        );
        r.register(
            "emitter_missing_records",
            "Places in emitters' sequences that no record takes",
            self.emitter_missing.clone(),
        );
        r.register(
            "cosign_submissions",
            "Checkpoints of other logs submitted to be cosigned here, by what became of them",
            self.cosign_submissions.clone(),
        );
        r.register(
            "cosigner_answers",
            "Answers of cosigners asked to vouch for our checkpoints, by cosigner and result",
            self.cosigner_answers.clone(),
        );
        r.register("db_up", "1 while the database answers", self.db_up.clone());
        r.register(
            "envoy_stats_up",
            "1 while the Envoy beside this control plane tells its statistics",
            self.envoy_stats_up.clone(),
        );
    }

    fn register_answers(&self, r: &mut Families<'_>) {
        r.register(
            "answers_stored",
            "Answers stored for requests with an Idempotency-Key that come again",
            self.answers_stored.clone(),
        );
        r.register(
            "answers_given_again",
            "Answers that were stored and given to a request that came again",
            self.answers_given_again.clone(),
        );
        r.register(
            "answers_missing",
            "Requests that came again and did not get the answer that was to be kept",
            self.answers_missing.clone(),
        );
    }

    fn register_http(&self, r: &mut Families<'_>) {
        r.register(
            "http_requests",
            "Answers of the admin API by route and class of status",
            self.http_requests.clone(),
        );
        r.register(
            "http_request_duration_seconds",
            "Time to answer, by route",
            self.http_seconds.clone(),
        );
        r.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.http_in_flight.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupiter_filter::metrics::Family as FilterFamily;

    #[test]
    fn names_are_those_that_dashboards_use() {
        let metrics = Metrics::new();
        metrics.chain_breaks.inc();
        metrics.db_up.set(1);
        let text = metrics.encode("").unwrap();
        for line in [
            "mercator_build_info{version=",
            "mercator_evidence_chain_breaks_total 1",
            "mercator_db_up 1",
            "mercator_policies 0",
            "mercator_emitter_missing_records 0",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    /// Rows of the reference: the name as it is scraped, and its help.
    fn table<'a>(families: impl Iterator<Item = (String, &'a str)>) -> String {
        families.fold(
            "| metric | meaning |\n| --- | --- |\n".to_owned(),
            |table, (name, help)| format!("{table}| `{name}` | {help} |\n"),
        )
    }

    #[test]
    fn reference_lists_every_metric() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let metrics = Metrics::new();
        crate::seal::SealMetrics::register(&metrics);
        crate::retention::RetentionMetrics::register(&metrics);
        crate::witness::WitnessMetrics::register(&metrics);
        crate::source::SourceState::new(crate::source::SourceKind::Git, &metrics);
        crate::store::postgres::register_metrics(&metrics);
        crate::run::register_envoy(&metrics);
        crate::telemetry::TelemetryMetrics::default().register(&metrics);
        let text = metrics.encode("").unwrap();
        let own = text.lines().filter_map(|line| {
            let (name, help) = line.strip_prefix("# HELP ")?.split_once(' ')?;
            Some((name.to_owned(), help.trim_end_matches('.')))
        });
        let filter = FilterFamily::ALL
            .iter()
            .map(|family| (family.name().to_owned(), family.help()));
        let made = [("control plane", table(own)), ("filter", table(filter))]
            .iter()
            .fold(page.clone(), |page, (section, table)| {
                let begin = format!("<!-- {section} -->\n");
                let (before, rest) = page.split_once(&begin).unwrap();
                let (_, after) = rest.split_once("<!-- end -->").unwrap();
                format!("{before}{begin}{table}<!-- end -->{after}")
            });
        if std::env::var_os("MERCATOR_BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(
            found == made,
            "docs/reference/metrics.md lacks a metric; `just bless` rewrites it"
        );
    }
}
