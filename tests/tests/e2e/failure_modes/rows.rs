//! The rows of `docs/reference/failure-modes.md`: what fails, how it is brought about, and
//! what comes of it. How each is tried stands in [`super`].

use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::question;

/// A failure, and what comes of it.
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) cause: Cause,
    /// The code in the record, in the metric and in the refusal.
    pub(super) reason: &'static str,
    /// The refusal's status where the instance fails closed; `None`: it goes on all the same.
    pub(super) closed: Option<u16>,
}

/// How a row is brought about.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    /// A request as it is sent: path, one header, body.
    Request(
        &'static str,
        Option<(&'static str, &'static str)>,
        fn() -> String,
    ),
    /// What the provider is told to do with its answer, which no rule asks for.
    Answer(&'static str, &'static str),
    /// The same of an answer that rules judge; whether it is a stream.
    Judged(bool, fn() -> Vec<(&'static str, String)>),
    NoBundle,
    StaleBundle,
    OutboxFull,
    NoClaim,
    NoRoom,
    Trap,
}

impl Cause {
    /// The test that tries it.
    pub(super) fn test(self) -> &'static str {
        match self {
            Cause::Request(..) | Cause::Answer(..) => {
                "what_cannot_be_read_follows_the_failure_mode"
            }
            Cause::Judged(..) => "answer_that_rules_judge_follows_the_failure_mode",
            Cause::NoBundle => "without_a_bundle_everything_is_refused_in_either_mode",
            Cause::StaleBundle => "bundle_that_nobody_confirms_follows_the_failure_mode",
            Cause::OutboxFull => "full_outbox_refuses_or_goes_on_as_configured",
            Cause::NoClaim => "key_that_no_control_plane_answers_for_follows_the_configuration",
            Cause::NoRoom => "bodies_beyond_the_memory_limit_are_refused_and_it_is_free_again",
            Cause::Trap => "trap_is_answered_with_503_and_leaves_its_record_with_the_witness",
        }
    }

    /// The failure mode has no say.
    fn is_always_refused(self) -> bool {
        matches!(self, Cause::NoBundle | Cause::Trap)
    }
}

pub(super) const CHAT: &str = "/v1/chat/completions";

pub(super) const ROWS: &[Row] = &[
    Row {
        what: "request that is no JSON",
        cause: Cause::Request(CHAT, None, || "{\"model\": \"gpt-4o\", ".to_owned()),
        reason: "malformed_json",
        closed: Some(400),
    },
    Row {
        what: "request that names a key twice",
        cause: Cause::Request(CHAT, None, || {
            "{\"model\": \"gpt-4o\", \"model\": \"gpt-3\", \"messages\": []}".to_owned()
        }),
        reason: "duplicate_key",
        closed: Some(400),
    },
    Row {
        what: "request that is no request of its API",
        cause: Cause::Request(CHAT, None, || "{\"model\": \"gpt-4o\"}".to_owned()),
        reason: "malformed_request",
        closed: Some(400),
    },
    Row {
        what: "request nested too deep",
        cause: Cause::Request(CHAT, None, || {
            let (open, close) = ("[".repeat(1_000), "]".repeat(1_000));
            format!("{{\"model\": \"gpt-4o\", \"messages\": {open}{close}}}")
        }),
        reason: TOO_DEEP,
        closed: Some(400),
    },
    Row {
        what: "request larger than `inspection.max_body_bytes`",
        cause: Cause::Request(CHAT, None, || {
            let mut body = question("gpt-4o");
            body["padding"] = json!("x".repeat(5_000));
            body.to_string()
        }),
        reason: "body_too_large",
        closed: Some(413),
    },
    Row {
        what: "request with a content encoding",
        cause: Cause::Request(CHAT, Some(("content-encoding", "gzip")), || {
            question("gpt-4o").to_string()
        }),
        reason: "unsupported_content_encoding",
        closed: Some(415),
    },
    Row {
        what: "API that is not known (`inspection.unknown_api`)",
        cause: Cause::Request("/v1/audio/speech", None, || "{}".to_owned()),
        reason: "unknown_api",
        closed: Some(403),
    },
    Row {
        what: "request with content that is no text",
        cause: Cause::Request(CHAT, None, || {
            let image =
                json!({"type": "image_url", "image_url": {"url": "https://a.example/b.png"}});
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": [image]}]})
                .to_string()
        }),
        reason: NON_TEXT,
        closed: None,
    },
    Row {
        what: "answer that is no JSON",
        cause: Cause::Answer("x-fake-body", "{\"id\": "),
        reason: "malformed_json",
        closed: None,
    },
    Row {
        what: "answer with a content encoding",
        cause: Cause::Answer("x-fake-content-encoding", "gzip"),
        reason: "content_encoding",
        closed: None,
    },
    Row {
        what: "answer larger than 1 MiB",
        cause: Cause::Answer("x-fake-body-bytes", "1100000"),
        reason: "too_large",
        closed: None,
    },
    Row {
        what: "answer that rules judge, with a content encoding",
        cause: Cause::Judged(false, || {
            vec![("x-fake-content-encoding", "gzip".to_owned())]
        }),
        reason: "content_encoding",
        closed: Some(502),
    },
    Row {
        what: "answer that rules judge, larger than `inspection.max_response_body_bytes`",
        cause: Cause::Judged(false, || vec![("x-fake-body-bytes", "1100000".to_owned())]),
        reason: "too_large",
        closed: Some(502),
    },
    Row {
        what: "answer that rules judge, no JSON",
        cause: Cause::Judged(false, || vec![("x-fake-body", "{\"id\": ".to_owned())]),
        reason: "malformed_json",
        closed: Some(502),
    },
    Row {
        what: "answer that rules judge, with a key named twice",
        cause: Cause::Judged(false, || {
            vec![("x-fake-body", "{\"id\": \"a\", \"id\": \"b\"}".to_owned())]
        }),
        reason: "duplicate_key",
        closed: Some(502),
    },
    Row {
        what: "answer that rules judge, nested too deep",
        cause: Cause::Judged(false, || {
            let nested = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
            vec![("x-fake-body", nested)]
        }),
        reason: TOO_DEEP,
        closed: Some(502),
    },
    Row {
        what: "stream that rules judge, with an event that is no JSON",
        cause: Cause::Judged(true, || body("data: {\n\n")),
        reason: "malformed_stream",
        closed: Some(200),
    },
    Row {
        what: "stream that rules judge, with an event of another API",
        cause: Cause::Judged(true, || {
            body(
                "data: {\"type\": \"content_block_delta\", \"delta\": {\"text\": \"a\"}}\n\ndata: [DONE]\n\n",
            )
        }),
        reason: "foreign_event",
        closed: Some(200),
    },
    Row {
        what: "stream that rules judge, with an event larger than 1 MiB",
        cause: Cause::Judged(true, || {
            vec![
                ("x-fake-body-bytes", "1100000".to_owned()),
                ("x-fake-chunks", "1".to_owned()),
            ]
        }),
        reason: "event_too_large",
        closed: Some(200),
    },
    Row {
        what: "stream that rules judge, with more text than `inspection.max_response_body_bytes`",
        cause: Cause::Judged(true, || vec![("x-fake-body-bytes", "1100000".to_owned())]),
        reason: "too_large",
        closed: Some(200),
    },
    Row {
        what: "stream that rules judge, without its last event",
        cause: Cause::Judged(true, || {
            body("data: {\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"a\"}}]}\n\n")
        }),
        reason: "cut",
        closed: Some(200),
    },
    Row {
        what: "no policy bundle",
        cause: Cause::NoBundle,
        reason: NO_BUNDLE,
        closed: Some(503),
    },
    Row {
        what: "policy bundle older than `inspection.max_staleness`",
        cause: Cause::StaleBundle,
        reason: STALE_BUNDLE,
        closed: Some(503),
    },
    Row {
        what: "outbox full (`evidence.on_full`)",
        cause: Cause::OutboxFull,
        reason: OUTBOX_FULL,
        closed: Some(503),
    },
    Row {
        what: "`Idempotency-Key` that no control plane answers for (`idempotency.unreachable`)",
        cause: Cause::NoClaim,
        reason: NO_CLAIM,
        closed: Some(503),
    },
    Row {
        what: "more than 48 MiB of bodies held at a time",
        cause: Cause::NoRoom,
        reason: NO_ROOM,
        closed: Some(503),
    },
    Row {
        what: "filter that traps",
        cause: Cause::Trap,
        reason: TRAP,
        closed: Some(503),
    },
];

/// A stream, byte for byte.
fn body(stream: &str) -> Vec<(&'static str, String)> {
    vec![("x-fake-body-base64", STANDARD.encode(stream))]
}

const TOO_DEEP: &str = "too_complex";
const NON_TEXT: &str = "non_text_content";
pub(super) const NO_BUNDLE: &str = "no_policy_bundle";
pub(super) const STALE_BUNDLE: &str = "stale_policy_bundle";
pub(super) const OUTBOX_FULL: &str = "evidence_unavailable";
pub(super) const NO_CLAIM: &str = "idempotency_unavailable";
pub(super) const NO_ROOM: &str = "memory_limit";
pub(super) const TRAP: &str = "filter_fault";
/// Of the client and of the decision, where an answer that has to be judged cannot be read.
pub(super) const UNREADABLE: &str = "unreadable_response";

impl Row {
    /// Whether the failure keeps something from being read.
    pub(super) fn is_unscanned(&self) -> bool {
        matches!(
            self.cause,
            Cause::Request(..) | Cause::Answer(..) | Cause::Judged(..) | Cause::NoRoom
        )
    }

    pub(super) fn is_of_judged(&self) -> bool {
        matches!(self.cause, Cause::Judged(..))
    }

    fn direction(&self) -> &'static str {
        match self.cause {
            Cause::Answer(..) | Cause::Judged(..) => "response",
            _ => "request",
        }
    }

    /// What the record says, refused or gone on.
    pub(super) fn record(&self, refused: bool) -> Value {
        if let Cause::Trap = self.cause {
            // As the witness has it: what was known when the VM died.
            return json!({"decision": "allow", "outcome": "filter_fault"});
        }
        if let Cause::Judged(..) = self.cause {
            let mut record = match refused {
                true => json!({
                    "decision": "error", "reason": UNREADABLE, "outcome": "withheld",
                }),
                false => json!({"decision": "allow", "outcome": "completed"}),
            };
            record["response_inspection"] = json!("unscanned");
            record["response_unscanned_reason"] = json!(self.reason);
            return record;
        }
        let mut record = match (self.is_unscanned(), self.closed) {
            (true, Some(_)) => json!({"decision": "error", "reason": self.reason}),
            (true, None) => json!({"decision": "allow"}),
            (false, _) if refused => json!({"decision": "deny", "reason": self.reason}),
            (false, _) => json!({"decision": "allow"}),
        };
        if self.reason == "unknown_api" {
            record["decision"] = json!(if refused { "deny" } else { "allow" });
            record["reason"] = json!(refused.then_some(self.reason));
        }
        if self.is_unscanned() {
            record[format!("{}_inspection", self.direction())] = json!("unscanned");
            record[format!("{}_unscanned_reason", self.direction())] = json!(self.reason);
        }
        if refused {
            record["outcome"] = json!("refused");
        } else if matches!(self.cause, Cause::NoClaim) {
            record["idempotency_run"] = json!("unprotected");
        }
        record
    }

    pub(super) fn metric(&self) -> String {
        match self.is_unscanned() {
            _ if matches!(self.cause, Cause::Trap) => {
                "mercator_evidence_records_total{source=\"witness\",outcome=\"accepted\"}"
                    .to_owned()
            }
            _ if matches!(self.cause, Cause::NoClaim) => {
                "mercator_keyed_requests_total{run=\"none\"}".to_owned()
            }
            true => format!(
                "mercator_unscanned_total{{direction=\"{}\",reason=\"{}\"}}",
                self.direction(),
                self.reason
            ),
            false => "mercator_decisions_total{verdict=\"deny\"}".to_owned(),
        }
    }

    fn line(&self) -> String {
        let closed = match self.closed {
            Some(200) => format!("goes on to there, then error event with code `{UNREADABLE}`"),
            Some(status) if self.is_of_judged() => format!("{status}, code `{UNREADABLE}`"),
            Some(status) => format!("{status}, code `{}`", self.reason),
            None => "goes on".to_owned(),
        };
        let open = match self.cause.is_always_refused() {
            true => closed.clone(),
            false => "goes on".to_owned(),
        };
        let told = |record: &Value| {
            let record = record.as_object().expect("an object");
            let words = record
                .iter()
                .filter(|(_, value)| **value != json!("refused") && !value.is_null());
            let words: Vec<_> = words
                .map(|(key, value)| format!("`{key}` {}", value.as_str().unwrap_or("none")))
                .collect();
            words.join(", ")
        };
        let (refused, passed) = (
            told(&self.record(self.closed.is_some())),
            told(&self.record(false)),
        );
        let record = match refused == passed || self.cause.is_always_refused() {
            true => refused,
            false => format!("{refused}; open: {passed}"),
        };
        format!(
            "| {} | {closed} | {open} | {record} | `{}` | `{}` |\n",
            self.what,
            self.metric(),
            self.cause.test()
        )
    }
}

#[test]
fn reference_shows_the_rows_that_are_tried() {
    let mut table = String::from(
        "| what fails | closed | open | record | metric | test |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in ROWS {
        write!(table, "{}", row.line()).expect("text");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/failure-modes.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once("<!-- rows -->\n").expect("a beginning");
    let (_, after) = rest.split_once("<!-- end -->").expect("an end");
    let made = format!("{before}<!-- rows -->\n{table}<!-- end -->{after}");
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, &made).expect("the page is written");
    }
    let found = std::fs::read_to_string(&path).expect("the page");
    assert!(
        found == made,
        "the page lacks a row; `just bless` rewrites it"
    );
}
