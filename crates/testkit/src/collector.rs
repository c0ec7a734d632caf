//! Receives telemetry by OTLP over HTTP, as an OpenTelemetry collector does, and keeps it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, metric};
use opentelemetry_proto::tonic::trace::v1::{Span, status};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::wait::OrFail;

/// Attributes by their names.
pub type Attributes = BTreeMap<String, Value>;

/// A span as it came.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    /// Ids in hex, as `traceparent` has them; an absent parent is empty.
    pub trace_id: String,
    pub span_id: String,
    pub parent_span_id: String,
    pub name: String,
    /// `Client`, `Server`, `Internal`.
    pub kind: String,
    pub attributes: Attributes,
    pub resource: Attributes,
    pub is_error: bool,
    pub start_unix_us: u64,
    pub end_unix_us: u64,
}

/// A series of a histogram, as it came last.
#[derive(Debug, Clone)]
pub struct CollectedHistogram {
    pub name: String,
    pub unit: String,
    pub attributes: Attributes,
    pub count: u64,
    pub sum: f64,
    pub bounds: Vec<f64>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct CollectedRequest {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Received {
    requests: Vec<CollectedRequest>,
    spans: Vec<CollectedSpan>,
    /// Of the newest export.
    histograms: Vec<CollectedHistogram>,
    /// Instead of 200.
    refusal: Option<u16>,
    /// Spans of the next request that are said not to be taken.
    rejected: i64,
}

/// A receiver; gone when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    task: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.or_fail("cannot listen for telemetry");
        let address = listener.local_addr().or_fail("no address");
        let received = Arc::<Mutex<Received>>::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&received)));
        Collector {
            address,
            received,
            task,
        }
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<CollectedRequest> {
        lock(&self.received).requests.clone()
    }

    pub fn spans(&self) -> Vec<CollectedSpan> {
        lock(&self.received).spans.clone()
    }

    pub fn histograms(&self) -> Vec<CollectedHistogram> {
        lock(&self.received).histograms.clone()
    }

    /// Answers with this status from now on, and keeps nothing; or takes all again.
    pub fn refuse(&self, status: Option<u16>) {
        lock(&self.received).refusal = status;
    }

    /// Says of the next spans that so many were not taken.
    pub fn reject_spans(&self, count: i64) {
        lock(&self.received).rejected = count;
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, received: Arc<Mutex<Received>>) {
    // Dropped at the end, which aborts the connections still open.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        let service = service_fn(move |request| take(request, Arc::clone(&received)));
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(served);
    }
}

async fn take(
    request: Request<Incoming>,
    received: Arc<Mutex<Received>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(answer(400, Vec::new())),
    };
    let headers: BTreeMap<String, String> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    let path = parts.uri.path().to_owned();
    let mut received = lock(&received);
    if let Some(status) = received.refusal {
        return Ok(answer(status, b"refused".to_vec()));
    }
    let body = match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => unzipped(&body),
        _ => body.to_vec(),
    };
    let taken = match path.as_str() {
        "/v1/traces" => received.take_spans(&body),
        "/v1/metrics" => received.take_metrics(&body),
        _ => None,
    };
    received.requests.push(CollectedRequest { path, headers });
    Ok(match taken {
        Some(reply) => answer(200, reply),
        None => answer(400, Vec::new()),
    })
}

fn answer(status: u16, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status.try_into().or_fail("no status");
    response
}

fn unzipped(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = flate2::read::GzDecoder::new(body).read_to_end(&mut plain);
    read.or_fail("a body that is not gzip");
    plain
}

impl Received {
    fn take_spans(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let request = ExportTraceServiceRequest::decode(body).ok()?;
        for resource in request.resource_spans {
            let about = attributes(&resource.resource.unwrap_or_default().attributes);
            let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
            let spans = spans.map(|span| collected(&span, &about));
            self.spans.extend(spans);
        }
        let rejected_spans = std::mem::take(&mut self.rejected);
        let partial_success = (rejected_spans > 0).then(|| ExportTracePartialSuccess {
            rejected_spans,
            error_message: "some are too many".to_owned(),
        });
        Some(ExportTraceServiceResponse { partial_success }.encode_to_vec())
    }

    fn take_metrics(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let request = ExportMetricsServiceRequest::decode(body).ok()?;
        let scopes = request
            .resource_metrics
            .into_iter()
            .flat_map(|it| it.scope_metrics);
        let metrics = scopes.flat_map(|it| it.metrics);
        self.histograms = metrics.flat_map(|metric| histograms(&metric)).collect();
        Some(Vec::new())
    }
}

fn collected(span: &Span, resource: &Attributes) -> CollectedSpan {
    let status = span.status.as_ref().map(|status| status.code());
    CollectedSpan {
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        name: span.name.clone(),
        kind: format!("{:?}", span.kind()),
        attributes: attributes(&span.attributes),
        resource: resource.clone(),
        is_error: status == Some(status::StatusCode::Error),
        start_unix_us: span.start_time_unix_nano / 1_000,
        end_unix_us: span.end_time_unix_nano / 1_000,
    }
}

fn histograms(metric: &Metric) -> Vec<CollectedHistogram> {
    let Some(metric::Data::Histogram(histogram)) = &metric.data else {
        return Vec::new();
    };
    let collected = |point: &HistogramDataPoint| CollectedHistogram {
        name: metric.name.clone(),
        unit: metric.unit.clone(),
        attributes: attributes(&point.attributes),
        count: point.count,
        sum: point.sum.unwrap_or_default(),
        bounds: point.explicit_bounds.clone(),
    };
    histogram.data_points.iter().map(collected).collect()
}

fn attributes(all: &[KeyValue]) -> Attributes {
    all.iter()
        .map(|it| (it.key.clone(), value(it.value.as_ref())))
        .collect()
}

fn value(any: Option<&AnyValue>) -> Value {
    match any.and_then(|any| any.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => json!(text),
        Some(any_value::Value::BoolValue(truth)) => json!(truth),
        Some(any_value::Value::IntValue(number)) => json!(number),
        Some(any_value::Value::DoubleValue(number)) => json!(number),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.iter().map(|it| value(Some(it))).collect()
        }
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
