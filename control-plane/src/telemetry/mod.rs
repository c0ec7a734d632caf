//! Tells others what happens, as OpenTelemetry has it: traces and metrics by OTLP.
//!
//! Off unless the environment asks ([`Settings`]). Each record that is newly stored becomes
//! one span below that of its client ([`exchange`]) and counts in the metrics
//! ([`measures`]); the control plane's own work has spans, too ([`spans`]). What is told is
//! handed over and forgotten: nothing waits for a receiver, and what cannot be sent is
//! counted ([`export`]).

mod exchange;
mod export;
mod measures;
mod settings;
pub(crate) mod spans;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanProcessor};
use tokio::sync::oneshot;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::export::Spans;
pub(crate) use self::export::TelemetryMetrics;
use self::measures::{Measured, Measures};
pub use self::settings::{Settings, SettingsError};
pub use self::spans::TARGET;
use crate::metrics::Metrics;
use crate::store::{NewEvidence, Outcome};

/// Who tells, in every span and metric.
const SCOPE: &str = "mercator";

/// How long a stop waits for what was not sent yet.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("the client for OpenTelemetry cannot be made")]
    Client(#[from] reqwest::Error),
    #[error("the exporter for OpenTelemetry cannot be made of these settings")]
    Exporter,
}

/// What tells others; tells nobody anything by default.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    traces: Option<Traces>,
    metrics: Option<(Measures, SdkMeterProvider)>,
    counts: TelemetryMetrics,
    /// Signals, and where they go.
    receivers: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct Traces {
    spans: Spans,
    provider: SdkTracerProvider,
    sampler: Sampler,
    scope: InstrumentationScope,
}

/// What is to be told of a batch, once it is stored: a place for each record.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<(Option<SpanData>, Option<Measured>)>);

impl Telemetry {
    /// Begins to export what `settings` ask for, in the name of `instance`. To be called on
    /// the runtime that sends.
    pub fn start(settings: &Settings, instance: &str) -> Result<Telemetry, TelemetryError> {
        if settings.traces.is_none() && settings.metrics.is_none() {
            return Ok(Telemetry::default());
        }
        let counts = TelemetryMetrics::default();
        let resource = Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .with_attributes(settings.resource.iter().cloned())
            .build();
        let scope = InstrumentationScope::builder(SCOPE)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let traces = match &settings.traces {
            None => None,
            Some(traces) => {
                let spans = Spans::start(traces, &resource, &counts)?;
                let provider = SdkTracerProvider::builder()
                    .with_resource(resource.clone())
                    .with_sampler(traces.sampler.clone())
                    .with_span_processor(spans.clone())
                    .build();
                Some(Traces {
                    spans,
                    provider,
                    sampler: traces.sampler.clone(),
                    scope: scope.clone(),
                })
            }
        };
        let metrics = match &settings.metrics {
            None => None,
            Some(metrics) => {
                let provider = export::metrics(metrics, resource, &counts)?;
                let measures = Measures::new(&provider.meter_with_scope(scope));
                Some((measures, provider))
            }
        };
        let targets = [
            (
                export::TRACES,
                settings.traces.as_ref().map(|it| &it.target),
            ),
            (
                export::METRICS,
                settings.metrics.as_ref().map(|it| &it.target),
            ),
        ];
        let receivers = targets
            .into_iter()
            .filter_map(|(signal, target)| Some((signal, target?.host())));
        Ok(Telemetry(Some(Arc::new(Running {
            traces,
            metrics,
            counts,
            receivers: receivers.collect(),
        }))))
    }

    /// What makes the control plane's own spans known, for the subscriber of its `tracing`.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let traces = self.0.as_ref()?.traces.as_ref()?;
        let tracer = traces.provider.tracer_with_scope(traces.scope.clone());
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false);
        Some(layer.with_filter(filter_fn(|it| it.is_span() && it.target() == TARGET)))
    }

    /// Says where telemetry goes, and shows in the metrics what is lost.
    pub(crate) fn register(&self, metrics: &Metrics) {
        if let Some(running) = &self.0 {
            running.counts.register(metrics);
            for (signal, receiver) in &running.receivers {
                tracing::info!(signal, receiver, "telemetry is exported");
            }
        }
    }

    /// What there is to tell of records, before the store has them. How an exchange ended
    /// must be known.
    pub(crate) fn prepare(&self, records: &[NewEvidence]) -> Option<Prepared> {
        let running = self.0.as_ref()?;
        let prepared = records.iter().map(|evidence| {
            if evidence.envelope.provisional {
                return (None, None);
            }
            let record = &evidence.envelope.record;
            let span = running.traces.as_ref().and_then(|traces| {
                exchange::span(record, evidence.time, &traces.sampler, &traces.scope)
            });
            let is_measured = running.metrics.is_some();
            (span, is_measured.then(|| Measured::of(record)).flatten())
        });
        Some(Prepared(prepared.collect()))
    }

    /// Tells of those that were stored, and not of those that were stored before.
    pub(crate) fn tell(&self, prepared: Option<Prepared>, outcomes: &[Outcome]) {
        let (Some(running), Some(Prepared(prepared))) = (&self.0, prepared) else {
            return;
        };
        for ((span, measured), outcome) in prepared.into_iter().zip(outcomes) {
            if *outcome != Outcome::Stored {
                continue;
            }
            if let (Some(span), Some(traces)) = (span, &running.traces) {
                traces.spans.on_end(span);
            }
            if let (Some(measured), Some((measures, _))) = (measured, &running.metrics) {
                measures.record(measured);
            }
        }
    }

    /// Sends what waits, for a bounded time, and ends.
    pub(crate) async fn stop(&self) {
        let Some(running) = &self.0 else {
            return;
        };
        let traces = running.traces.as_ref().map(|it| it.provider.clone());
        let metrics = running.metrics.as_ref().map(|(_, it)| it.clone());
        // How it went is counted; each on a thread of its own, which the end does not wait for.
        let both = async {
            let traces = traces.map(|it| aside(move || it.shutdown_with_timeout(STOP_WITHIN)));
            let metrics = metrics.map(|it| aside(move || it.shutdown_with_timeout(STOP_WITHIN)));
            for ended in [traces, metrics].into_iter().flatten() {
                let _ = ended.await;
            }
        };
        if tokio::time::timeout(STOP_WITHIN, both).await.is_err() {
            tracing::warn!("telemetry was not exported to its end");
        }
    }
}

fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (done, is_done) = oneshot::channel();
    thread::spawn(move || {
        // Nobody waits any more when the time is up.
        let _ = done.send(work());
    });
    is_done
}

#[cfg(test)]
mod tests;
