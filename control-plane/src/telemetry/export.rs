//! Sends what was gathered, from threads of its own.
//!
//! Nobody waits for a receiver: spans wait in a queue of bounded length, and what does not
//! fit or cannot be sent is dropped and counted. Metrics are sums, so that a lost export
//! loses nothing. A receiver that fails is told once in the log, and once that it is back;
//! addresses, headers and bodies never are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    Compression, ExporterBuildError, MetricExporter, SpanExporter as OtlpSpanExporter,
    WithExportConfig, WithHttpConfig,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prost::Message;
use tokio::runtime::Handle;

use super::TelemetryError;
use super::settings::{MetricSettings, Target, TraceSettings};
use crate::config::Secret;
use crate::metrics::Metrics;

/// Why spans are dropped, in metrics.
const QUEUE_FULL: &str = "queue_full";
const SEND_FAILED: &str = "send_failed";
const REJECTED: &str = "rejected";

/// What is exported, in metrics and in the log.
pub(super) const TRACES: &str = "traces";
pub(super) const METRICS: &str = "metrics";

/// A receiver that comes and goes is told of no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct DropLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SignalLabels {
    signal: &'static str,
}

/// What was not told.
#[derive(Debug, Clone, Default)]
pub(crate) struct TelemetryMetrics {
    dropped: Family<DropLabels, Counter>,
    failed: Family<SignalLabels, Counter>,
}

impl TelemetryMetrics {
    pub(crate) fn register(&self, metrics: &Metrics) {
        // So that they are there before anything is lost.
        for reason in [QUEUE_FULL, SEND_FAILED, REJECTED] {
            self.drop_spans(reason, 0);
        }
        for signal in [TRACES, METRICS] {
            self.failed
                .get_or_create(&SignalLabels { signal })
                .inc_by(0);
        }
        metrics.register(|r| {
            r.register(
                "otel_dropped_spans",
                "Spans that were not exported: `queue_full`, `send_failed` or `rejected` by the \
                 receiver",
                self.dropped.clone(),
            );
            r.register(
                "otel_failed_exports",
                "Exports to an OpenTelemetry receiver that failed, by signal",
                self.failed.clone(),
            );
        });
    }

    fn drop_spans(&self, reason: &'static str, count: u64) {
        let labels = DropLabels { reason };
        self.dropped.get_or_create(&labels).inc_by(count);
    }
}

/// Spans on their way.
#[derive(Debug, Clone)]
pub(super) struct Spans(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    most: usize,
    counts: TelemetryMetrics,
}

impl Spans {
    pub(super) fn start(
        settings: &TraceSettings,
        resource: &Resource,
        counts: &TelemetryMetrics,
    ) -> Result<Spans, TelemetryError> {
        let client = client(&settings.target, Some(counts.clone()))?;
        let exporter = OtlpSpanExporter::builder().with_http();
        let mut exporter = at(exporter, &settings.target, client).build()?;
        exporter.set_resource(resource);
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = Watched {
            exporter,
            waiting: Arc::clone(&waiting),
            watch: Watch::new(TRACES, counts.clone()),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue)
            .with_max_export_batch_size(settings.batch)
            .with_scheduled_delay(settings.delay)
            .build();
        Ok(Spans(Arc::new(Queue {
            batches: BatchSpanProcessor::new(exporter, config),
            waiting,
            most: settings.queue,
            counts: counts.clone(),
        })))
    }
}

impl SpanProcessor for Spans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let queue = &*self.0;
        if !span.span_context.is_sampled() {
            return;
        }
        // Counted here, since the processor tells nobody what it drops.
        if queue.waiting.fetch_add(1, Ordering::AcqRel) >= queue.most {
            queue.waiting.fetch_sub(1, Ordering::AcqRel);
            queue.counts.drop_spans(QUEUE_FULL, 1);
            return;
        }
        queue.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.batches.shutdown_with_timeout(timeout)
    }
}

/// Metrics, from when they are recorded on.
pub(super) fn metrics(
    settings: &MetricSettings,
    resource: Resource,
    counts: &TelemetryMetrics,
) -> Result<SdkMeterProvider, TelemetryError> {
    let client = client(&settings.target, None)?;
    let exporter = MetricExporter::builder()
        .with_temporality(settings.temporality)
        .with_http();
    let exporter = at(exporter, &settings.target, client).build()?;
    let exporter = Watched {
        exporter,
        waiting: Arc::default(),
        watch: Watch::new(METRICS, counts.clone()),
    };
    let reader = PeriodicReader::builder(exporter)
        .with_interval(settings.interval)
        .build();
    Ok(SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(reader)
        .build())
}

fn at<B: WithExportConfig + WithHttpConfig>(exporter: B, target: &Target, client: Client) -> B {
    let header = |(name, value): &(String, Secret)| (name.clone(), value.expose().to_owned());
    let exporter = exporter
        .with_endpoint(target.endpoint.as_str())
        .with_timeout(target.timeout)
        .with_headers(target.headers.iter().map(header).collect())
        .with_http_client(client);
    match target.gzip {
        true => exporter.with_compression(Compression::Gzip),
        false => exporter,
    }
}

/// What sends, on the runtime: the exporters' threads have none.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// Where answers tell of spans that were not taken.
    counts: Option<TelemetryMetrics>,
}

fn client(target: &Target, counts: Option<TelemetryMetrics>) -> Result<Client, TelemetryError> {
    let http = reqwest::Client::builder()
        .timeout(target.timeout)
        // Headers with credentials go where they were meant to.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    Ok(Client {
        http,
        runtime: Handle::current(),
        counts,
    })
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sent = self
            .runtime
            .spawn(async move { http.send_bytes(request).await });
        let response = sent.await??;
        if let Some(counts) = &self.counts
            && response.status().is_success()
            && let Ok(answer) = ExportTraceServiceResponse::decode(response.body().as_ref())
            && let Some(partial) = answer.partial_success
        {
            let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
            counts.drop_spans(REJECTED, rejected);
        }
        Ok(response)
    }
}

/// An exporter whose failures are counted and told.
#[derive(Debug)]
struct Watched<E> {
    exporter: E,
    /// Spans in the queue before it.
    waiting: Arc<AtomicUsize>,
    watch: Watch,
}

impl SpanExporter for Watched<OtlpSpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::AcqRel);
        if self.watch.saw(&result) {
            self.watch.counts.drop_spans(SEND_FAILED, count as u64);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.watch.saw(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Looks at how exports end.
#[derive(Debug)]
struct Watch {
    signal: &'static str,
    counts: TelemetryMetrics,
    told: Mutex<Told>,
}

/// What the log says of a receiver.
#[derive(Debug, Default)]
struct Told {
    is_failing: bool,
    at: Option<Instant>,
}

impl Told {
    /// Whether a failure at this time is to be told.
    fn fails(&mut self, now: Instant) -> bool {
        let lately = self
            .at
            .is_some_and(|at| now.duration_since(at) < TOLD_EVERY);
        if self.is_failing || lately {
            return false;
        }
        self.is_failing = true;
        self.at = Some(now);
        true
    }

    /// Whether a success is.
    fn succeeds(&mut self) -> bool {
        std::mem::take(&mut self.is_failing)
    }
}

impl Watch {
    fn new(signal: &'static str, counts: TelemetryMetrics) -> Watch {
        Watch {
            signal,
            counts,
            told: Mutex::default(),
        }
    }

    /// Whether it failed.
    fn saw(&self, result: &OTelSdkResult) -> bool {
        let signal = self.signal;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                if told.succeeds() {
                    tracing::info!(signal, "telemetry is exported again");
                }
            }
            Err(error) => {
                let labels = SignalLabels { signal };
                self.counts.failed.get_or_create(&labels).inc();
                if told.fails(Instant::now()) {
                    tracing::warn!(signal, %error, "telemetry is not exported; metrics count what is lost");
                }
            }
        }
        result.is_err()
    }
}

impl From<ExporterBuildError> for TelemetryError {
    /// Its words may quote an address.
    fn from(_: ExporterBuildError) -> TelemetryError {
        TelemetryError::Exporter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receiver_that_fails_is_told_once_and_one_that_flaps_once_a_minute() {
        let start = Instant::now();
        let mut told = Told::default();
        assert!(!told.succeeds());
        assert!(told.fails(start));
        assert!(!told.fails(start + TOLD_EVERY * 5));
        assert!(told.succeeds());
        assert!(!told.succeeds());
        let mut told = Told::default();
        let lines = (0..600).filter(|second| {
            let now = start + Duration::from_secs(*second);
            let failed = told.fails(now);
            told.succeeds() && failed
        });
        assert_eq!(lines.count(), 10);
    }
}
