//! Embeddings: unit vectors made of the text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::answer::{count_words, fingerprint};
use super::super::wire::Reply;
use super::{invalid, known_model, missing};

pub(super) fn create(body: &Map<String, Value>) -> Result<Reply, Reply> {
    let model = known_model(body)?;
    let input = body.get("input").ok_or_else(|| missing("input"))?;
    let dimensions = body
        .get("dimensions")
        .and_then(Value::as_u64)
        .map_or(1536, |n| usize::try_from(n.clamp(1, 3072)).unwrap_or(1536));
    let base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(invalid(
                "Invalid value for 'encoding_format'.",
                json!("encoding_format"),
                Value::Null,
            ));
        }
    };
    let inputs = embedding_inputs(input);
    let tokens: u64 = inputs.iter().map(|(_, tokens)| tokens).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (text, _))| {
            let vector = embedding(text, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "object": "list", "data": data, "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }),
    ))
}

/// A text, several texts, a token list or several: each with its token count.
fn embedding_inputs(input: &Value) -> Vec<(String, u64)> {
    let one = |value: &Value| match value {
        Value::String(text) => (text.clone(), count_words(text)),
        Value::Array(tokens) => (value.to_string(), tokens.len() as u64),
        other => (other.to_string(), 1),
    };
    match input {
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            items.iter().map(one).collect()
        }
        other => vec![one(other)],
    }
}

/// A unit vector that depends on the text alone.
fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = fingerprint(text.as_bytes());
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32_768.0 - 1.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter()
        .map(|x| x / length.max(f32::MIN_POSITIVE))
        .collect()
}
