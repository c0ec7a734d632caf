//! How a request is to be answered: the knobs of the fake provider.
//!
//! A request scripts itself by `x-fake-*` headers; what it leaves out comes
//! from the standing script of the control API. A knob that cannot be read is
//! an error, never ignored: a misspelt fault would make a test pass for nothing.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use serde::{Deserialize, Serialize};

/// The misbehaviour asked for; the default is to answer well and at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// `x-fake-status`: answer with this status; from 400 on, the dialect's error.
    pub status: Option<u16>,
    /// `x-fake-latency-ms`: wait this long before the response head.
    pub latency_ms: u64,
    /// `x-fake-cut-after`: break the connection after so many pieces of the
    /// body; 0 breaks it instead of answering.
    pub cut_after: Option<usize>,
    /// `x-fake-cut-how`: `reset` or `close`.
    pub cut_how: CutHow,
    /// `x-fake-chunks`: so many content chunks in a stream, pieces in a whole answer.
    pub chunks: Option<usize>,
    /// `x-fake-chunk-interval-ms`: wait between pieces.
    pub chunk_interval_ms: u64,
    /// `x-fake-never: true`: accept the request and stay silent.
    pub never: bool,
    /// `x-fake-body-bytes`: an answer of at least this size.
    pub body_bytes: Option<usize>,
    /// `x-fake-content-encoding: gzip`: encode the answer whether or not it was asked for.
    pub content_encoding: Option<Encoding>,
    /// `x-fake-reply`: the text to answer with.
    pub reply: Option<String>,
    /// `x-fake-tool-call: true`: answer by calling the first tool on offer;
    /// with a reply as well, the text comes first.
    pub tool_call: bool,
    /// `x-fake-tool-arguments`: what to call it with, as JSON.
    pub tool_arguments: Option<String>,
    /// `x-fake-refusal`: refuse in these words; Anthropic's models stop with them.
    pub refusal: Option<String>,
    /// `x-fake-reasoning`: think this before the answer.
    pub reasoning: Option<String>,
    /// `x-fake-piece-chars`: texts stream in pieces of so many characters.
    pub piece_chars: Option<usize>,
    /// `x-fake-wire-bytes`: the body goes out in pieces of so many bytes,
    /// wherever they cut it.
    pub wire_bytes: Option<usize>,
    /// `x-fake-wire-seed`: those pieces are of any length up to that, drawn from this.
    pub wire_seed: Option<u64>,
    /// `x-fake-body`: answer 200 with exactly these bytes; as a stream when
    /// the request asks for one. `x-fake-body-base64`: the same, lines and all.
    pub body: Option<String>,
}

/// How a connection is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CutHow {
    /// RST: as a crashed host or an impatient middlebox does.
    #[default]
    Reset,
    /// FIN before the body is complete: as a crashed process does.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    Gzip,
}

/// A scripting header that says nothing we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptError {
    pub header: String,
    pub value: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the fake provider does not understand `{}: {}`",
            self.header, self.value
        )
    }
}

impl std::error::Error for ScriptError {}

impl Script {
    /// The script of one request: its headers over the standing script.
    pub(super) fn of_request(mut self, headers: &HeaderMap) -> Result<Self, ScriptError> {
        for (name, value) in headers {
            let Some(knob) = name.as_str().strip_prefix("x-fake-") else {
                continue;
            };
            let text = String::from_utf8_lossy(value.as_bytes());
            if self.set(knob, text.trim()).is_none() {
                return Err(ScriptError {
                    header: name.as_str().to_owned(),
                    value: text.into_owned(),
                });
            }
        }
        Ok(self)
    }

    fn set(&mut self, knob: &str, value: &str) -> Option<()> {
        match knob {
            "status" => self.status = Some(value.parse().ok().filter(|s| (200..600).contains(s))?),
            "latency-ms" => self.latency_ms = value.parse().ok()?,
            "cut-after" => self.cut_after = Some(value.parse().ok()?),
            "cut-how" => {
                self.cut_how = match value {
                    "reset" => CutHow::Reset,
                    "close" => CutHow::Close,
                    _ => return None,
                }
            }
            "chunks" => self.chunks = Some(value.parse().ok()?),
            "chunk-interval-ms" => self.chunk_interval_ms = value.parse().ok()?,
            "never" => self.never = flag(value)?,
            "body-bytes" => self.body_bytes = Some(value.parse().ok()?),
            "content-encoding" => {
                self.content_encoding = match value {
                    "gzip" => Some(Encoding::Gzip),
                    "identity" => None,
                    _ => return None,
                }
            }
            "reply" => self.reply = Some(value.to_owned()),
            "tool-call" => self.tool_call = flag(value)?,
            "tool-arguments" => {
                self.tool_arguments = Some(value.to_owned());
                self.tool_call = true;
            }
            "refusal" => self.refusal = Some(value.to_owned()),
            "reasoning" => self.reasoning = Some(value.to_owned()),
            "piece-chars" => self.piece_chars = Some(value.parse().ok().filter(|n| *n > 0)?),
            "wire-bytes" => self.wire_bytes = Some(value.parse().ok().filter(|n| *n > 0)?),
            "wire-seed" => self.wire_seed = Some(value.parse().ok()?),
            "body-base64" => {
                let body = STANDARD.decode(value).ok()?;
                self.body = Some(String::from_utf8(body).ok()?);
            }
            "body" => self.body = Some(value.to_owned()),
            _ => return None,
        }
        Some(())
    }

    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    pub(super) fn chunk_interval(&self) -> Duration {
        Duration::from_millis(self.chunk_interval_ms)
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}
