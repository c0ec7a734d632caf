//! Counts exchanges by OpenTelemetry's metrics for generative AI.
//!
//! Names of models come from clients, who may invent any number: a name is told only once
//! a provider has answered to it, and only the first [`MOST_MODELS`] are; all others are
//! [`OTHER`]. Operations, providers and errors are words of ours.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use jupiter_evidence::{EvidenceRecord, Outcome};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::exchange::error_type;

/// Names of models told apart, until the next start.
pub(super) const MOST_MODELS: usize = 100;
/// As OpenTelemetry calls what is not told apart.
const OTHER: &str = "_OTHER";

/// Buckets that the conventions recommend, in seconds.
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];
/// The same, in tokens: powers of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// Of one exchange, what is measured once its record is stored.
#[derive(Debug)]
pub(super) struct Measured {
    operation: String,
    provider: Option<String>,
    request_model: Option<String>,
    response_model: Option<String>,
    error: Option<Cow<'static, str>>,
    seconds: f64,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    is_answered: bool,
}

impl Measured {
    /// `None` of what is no operation on a model.
    pub(super) fn of(record: &EvidenceRecord) -> Option<Measured> {
        Some(Measured {
            operation: record.operation.clone()?,
            provider: record.provider.clone(),
            request_model: record.request_model.clone(),
            response_model: record.response_model.clone(),
            error: error_type(record),
            seconds: record.duration_us as f64 / 1e6,
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            is_answered: record.outcome == Outcome::Completed,
        })
    }
}

/// The instruments.
#[derive(Debug)]
pub(super) struct Measures {
    duration: Histogram<f64>,
    tokens: Histogram<u64>,
    models: Models,
}

impl Measures {
    pub(super) fn new(meter: &Meter) -> Measures {
        Measures {
            duration: meter
                .f64_histogram("gen_ai.client.operation.duration")
                .with_unit("s")
                .with_description("GenAI operation duration.")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(TOKENS.to_vec())
                .build(),
            models: Models::default(),
        }
    }

    pub(super) fn record(&self, exchange: Measured) {
        let mut attributes = vec![KeyValue::new("gen_ai.operation.name", exchange.operation)];
        if let Some(provider) = exchange.provider {
            attributes.push(KeyValue::new("gen_ai.provider.name", provider));
        }
        for (key, model) in [
            ("gen_ai.request.model", exchange.request_model),
            ("gen_ai.response.model", exchange.response_model),
        ] {
            if let Some(model) = model {
                let name = self.models.name(model, exchange.is_answered);
                attributes.push(KeyValue::new(key, name));
            }
        }
        for (kind, count) in [
            ("input", exchange.input_tokens),
            ("output", exchange.output_tokens),
        ] {
            if let Some(count) = count {
                let mut attributes = attributes.clone();
                attributes.push(KeyValue::new("gen_ai.token.type", kind));
                self.tokens.record(count, &attributes);
            }
        }
        if let Some(error) = exchange.error {
            attributes.push(KeyValue::new("error.type", error));
        }
        self.duration.record(exchange.seconds, &attributes);
    }
}

/// Names of models that are told.
#[derive(Debug, Default)]
struct Models(Mutex<HashSet<String>>);

impl Models {
    fn name(&self, model: String, is_answered: bool) -> Cow<'static, str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&model) {
            if !is_answered || known.len() >= MOST_MODELS {
                return Cow::Borrowed(OTHER);
            }
            known.insert(model.clone());
        }
        Cow::Owned(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_is_named_once_a_provider_answered_to_it_and_only_so_many_are() {
        let models = Models::default();
        let name = |model: &str, is_answered| models.name(model.to_owned(), is_answered);
        assert_eq!(name("invented", false), OTHER);
        assert_eq!(name("gpt-4o", true), "gpt-4o");
        assert_eq!(name("gpt-4o", false), "gpt-4o");
        for number in 1..MOST_MODELS {
            let model = format!("model-{number}");
            assert_eq!(name(&model, true), model);
        }
        assert_eq!(name("one-more", true), OTHER);
        assert_eq!(name("gpt-4o", true), "gpt-4o");
    }
}
