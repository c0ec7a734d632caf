//! The same conditions in the `cel` crate.
//!
//! To its advantage, what it knows of a request is put together before the clock starts,
//! and all text of a request is one string.

use cel::extractors::This;
use cel::{Context, Program, Value};
use jupiter_policy::facts::Facts;
use regex::Regex;
use serde_json::json;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// How `matches` gets its regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regexes {
    /// Compiled at every call, as the crate does it.
    Stock,
    /// Compiled once.
    Kept,
}

/// Expressions and what they are about.
pub struct Expressions<'a> {
    programs: Vec<Program>,
    context: Context<'a, 'a>,
}

thread_local! {
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
}

impl<'a> Expressions<'a> {
    pub fn new(texts: &[String], facts: &Facts, regexes: Regexes) -> Result<Self, String> {
        let programs = texts.iter().map(|text| {
            let text = match regexes {
                Regexes::Stock => text.clone(),
                Regexes::Kept => text.replace(".matches(", ".matchesKept("),
            };
            Program::compile(&text).map_err(|cause| format!("`{text}` is no CEL: {cause}"))
        });
        Ok(Expressions {
            programs: programs.collect::<Result<_, _>>()?,
            context: context(facts)?,
        })
    }

    /// The first that holds.
    pub fn first_match(&self) -> Result<Option<usize>, String> {
        for (program, nth) in self.programs.iter().zip(0..) {
            match program.execute(&self.context) {
                Ok(Value::Bool(true)) => return Ok(Some(nth)),
                Ok(Value::Bool(false)) => {}
                other => return Err(format!("expression {nth} gives {other:?}")),
            }
        }
        Ok(None)
    }
}

fn context<'a>(facts: &Facts) -> Result<Context<'a, 'a>, String> {
    let request = &facts.request;
    let messages: Vec<_> = request
        .messages
        .iter()
        .map(|message| json!({"role": message.role, "content": message.content}))
        .collect();
    let text: Vec<&str> = request.texts().collect();
    let about = &facts.context;
    // What `jupiter_bench` says the time is.
    let time = json!({"hour": 10.0, "minute": 30.0, "day_of_week": "wednesday"});
    let analysis = &facts.processing.content_analysis;
    let mut context = Context::default();
    let mut add = |name: &str, value: serde_json::Value| {
        let added = context.add_variable(name, value);
        added.map_err(|cause| format!("`{name}` cannot be told to CEL: {cause}"))
    };
    add(
        "request",
        json!({
            "model": request.model, "user": request.user, "max_tokens": request.max_tokens,
            "temperature": request.temperature, "top_p": request.top_p,
            "stream": request.stream, "messages": messages, "tools": request.tools,
            "stop": request.stop, "text": text.join("\n"),
        }),
    )?;
    add(
        "context",
        json!({
            "environment": about.environment, "time": time,
            "user_attributes": about.user_attributes,
        }),
    )?;
    add(
        "processing",
        json!({
            "token_estimate": facts.processing.token_estimate,
            "risk_score": facts.processing.risk_score,
            "content_analysis": {"pii_detection": {"has_pii": analysis.pii_detection.has_pii}},
        }),
    )?;
    let kept = |This(text): This<Arc<String>>, pattern| is_match(&text, pattern);
    let added = context.add_function("matchesKept", kept);
    added.map_err(|cause| format!("`matchesKept` cannot be told to CEL: {cause}"))?;
    Ok(context)
}

fn is_match(text: &str, pattern: Arc<String>) -> bool {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(regex) = compiled.get(pattern.as_str()) {
            return regex.is_match(text);
        }
        let Ok(regex) = Regex::new(&pattern) else {
            return false;
        };
        let holds = regex.is_match(text);
        compiled.insert(pattern.to_string(), regex);
        holds
    })
}

impl fmt::Debug for Expressions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions")
            .field("programs", &self.programs.len())
            .finish_non_exhaustive()
    }
}
