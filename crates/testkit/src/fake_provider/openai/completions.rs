//! Legacy completions: a prompt, or several, continued.

use serde_json::{Map, Value, json};

use super::super::Script;
use super::super::answer::{Answer, count_words, fingerprint};
use super::super::wire::Reply;
use super::{asks_for_stream, asks_for_usage, event, known_model, missing, now};

pub(super) fn create(body: &Map<String, Value>, script: &Script) -> Result<Reply, Reply> {
    let model = known_model(body)?;
    let prompts = prompts(body.get("prompt").ok_or_else(|| missing("prompt"))?);
    let max_tokens = body.get("max_tokens").and_then(Value::as_u64);
    let answers: Vec<Answer> = prompts
        .iter()
        .map(|prompt| Answer::compose(prompt, max_tokens, None, script))
        .collect();
    let (prompt_tokens, completion_tokens) = (
        prompts
            .iter()
            .map(|prompt| count_words(prompt))
            .sum::<u64>(),
        answers.iter().map(Answer::tokens).sum::<u64>(),
    );
    let usage = json!({
        "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    });
    let head = json!({
        "id": format!("cmpl-{:016x}", fingerprint(prompts.join("\n").as_bytes())),
        "object": "text_completion", "created": now(), "model": model,
    });
    let with = |choices: Value, usage: Value| {
        let mut object = head.clone();
        object["choices"] = choices;
        object["usage"] = usage;
        object
    };
    let choice = |text: &str, index: usize, finish: Value| json!({"text": text, "index": index, "logprobs": null, "finish_reason": finish});
    let finish = |answer: &Answer| json!(if answer.truncated { "length" } else { "stop" });
    if !asks_for_stream(body) {
        let choices: Vec<Value> = answers
            .iter()
            .enumerate()
            .map(|(index, answer)| choice(&answer.text(), index, finish(answer)))
            .collect();
        return Ok(Reply::json(200, &with(json!(choices), usage)));
    }
    let mut events = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        for piece in &answer.pieces {
            let choices = json!([choice(piece, index, Value::Null)]);
            events.push(event(&with(choices, Value::Null)));
        }
        let choices = json!([choice("", index, finish(answer))]);
        events.push(event(&with(choices, Value::Null)));
    }
    if asks_for_usage(body) {
        events.push(event(&with(json!([]), usage)));
    }
    events.push(b"data: [DONE]\n\n".to_vec());
    Ok(Reply::events(events))
}

/// A text, several, a token list or several.
fn prompts(prompt: &Value) -> Vec<String> {
    let one = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match prompt {
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            items.iter().map(one).collect()
        }
        other => vec![one(other)],
    }
}
