//! Request bodies to facts.
//!
//! Every string in a request counts: what is not a message's own text (tool
//! definitions, call arguments, schemas, metadata, fields we never heard of)
//! lands in `other_texts`, so that nothing can hide in a field of tomorrow.
//! What cannot be text (images, audio, files, token ids) is told by
//! [`ReadRequest::non_text`], never passed over in silence.

use crate::json::{self, DUPLICATE_KEY, Json, TOO_MANY_VALUES};
use crate::{Api, Dialect};
use jupiter_policy::facts::{Message, Part, PartKind, RequestFacts};
use std::collections::BTreeMap;
use std::fmt;

/// What a request body said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadRequest {
    pub facts: RequestFacts,
    /// Holds content that is not text and was therefore not read.
    pub non_text: bool,
}

/// Why a body could not be read. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    NotJson {
        line: usize,
        column: usize,
    },
    DuplicateKey {
        line: usize,
        column: usize,
    },
    TooManyValues,
    NotAnObject,
    WrongType {
        field: &'static str,
        expected: &'static str,
    },
    Missing {
        field: &'static str,
    },
    /// A body where the API has none.
    UnexpectedBody,
}

impl Unreadable {
    /// Stable code for clients, records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Unreadable::NotJson { .. } => "malformed_json",
            Unreadable::DuplicateKey { .. } => "duplicate_key",
            Unreadable::NotAnObject | Unreadable::WrongType { .. } | Unreadable::Missing { .. } => {
                "malformed_request"
            }
            Unreadable::TooManyValues => "too_complex",
            Unreadable::UnexpectedBody => "unexpected_body",
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::NotJson { line, column } => {
                write!(
                    f,
                    "the body is not valid JSON (line {line}, column {column})"
                )
            }
            Unreadable::DuplicateKey { line, column } => {
                write!(f, "{DUPLICATE_KEY} (line {line}, column {column})")
            }
            Unreadable::TooManyValues => f.write_str(TOO_MANY_VALUES),
            Unreadable::NotAnObject => f.write_str("the body must be a JSON object"),
            Unreadable::WrongType { field, expected } => write!(f, "`{field}` must be {expected}"),
            Unreadable::Missing { field } => write!(f, "`{field}` is required"),
            Unreadable::UnexpectedBody => f.write_str("this API takes no request body"),
        }
    }
}

/// Reads a whole request body of the given API.
pub fn read_request(api: Api, body: &[u8]) -> Result<ReadRequest, Unreadable> {
    if !api.has_body() {
        return if body.is_empty() {
            Ok(ReadRequest::default())
        } else {
            Err(Unreadable::UnexpectedBody)
        };
    }
    let root = json::parse(body).map_err(|e| {
        let (line, column, message) = (e.line(), e.column(), e.to_string());
        if message.starts_with(DUPLICATE_KEY) {
            Unreadable::DuplicateKey { line, column }
        } else if message.starts_with(TOO_MANY_VALUES) {
            Unreadable::TooManyValues
        } else {
            Unreadable::NotJson { line, column }
        }
    })?;
    let Json::Object(members) = root else {
        return Err(Unreadable::NotAnObject);
    };
    let mut reader = Reader {
        dialect: api.dialect(),
        read: ReadRequest::default(),
    };
    reader.parameters(&members)?;
    match api {
        Api::ChatCompletions | Api::Messages => reader.conversation(&members)?,
        Api::Embeddings => reader.embedding_input(&members)?,
        Api::Models => {}
    }
    Ok(reader.read)
}

struct Reader {
    dialect: Option<Dialect>,
    read: ReadRequest,
}

type Members = BTreeMap<String, Json>;

impl Reader {
    fn parameters(&mut self, members: &Members) -> Result<(), Unreadable> {
        let facts = &mut self.read.facts;
        facts.model = string(members, "model")?;
        if facts.model.is_none() {
            return Err(Unreadable::Missing { field: "model" });
        }
        facts.temperature = number(members, "temperature")?;
        facts.top_p = number(members, "top_p")?;
        facts.frequency_penalty = number(members, "frequency_penalty")?;
        facts.presence_penalty = number(members, "presence_penalty")?;
        let (current, legacy) = (
            number(members, "max_completion_tokens")?,
            number(members, "max_tokens")?,
        );
        // Where both are given, the larger is what the provider may spend.
        facts.max_tokens = current.into_iter().chain(legacy).reduce(f64::max);
        facts.stream = boolean(members, "stream")?;
        facts.stop = match members
            .get("stop")
            .or_else(|| members.get("stop_sequences"))
        {
            Some(Json::String(one)) => vec![one.clone()],
            Some(many) => many
                .items()
                .iter()
                .filter_map(Json::as_str)
                .map(str::to_owned)
                .collect(),
            None => vec![],
        };
        facts.user = match self.dialect {
            Some(Dialect::Anthropic) => members.get("metadata").and_then(|m| m.get("user_id")),
            _ => members.get("user"),
        }
        .and_then(Json::as_str)
        .map(str::to_owned);
        facts.tools = tool_names(members);
        Ok(())
    }

    fn conversation(&mut self, members: &Members) -> Result<(), Unreadable> {
        self.read.facts.parts = Some(vec![]);
        if let Some(system) = members.get("system") {
            let content = self.content(system);
            self.read.facts.messages.push(Message {
                role: "system".to_owned(),
                content,
            });
        }
        let Some(messages) = members.get("messages") else {
            return Err(Unreadable::Missing { field: "messages" });
        };
        let Json::Array(messages) = messages else {
            return Err(Unreadable::WrongType {
                field: "messages",
                expected: "an array",
            });
        };
        for message in messages {
            let Json::Object(fields) = message else {
                return Err(Unreadable::WrongType {
                    field: "messages[]",
                    expected: "an object",
                });
            };
            let role = string(fields, "role")?.ok_or(Unreadable::Missing { field: "role" })?;
            let content = fields
                .get("content")
                .map(|c| self.content(c))
                .unwrap_or_default();
            self.read.facts.messages.push(Message { role, content });
            self.others(fields, &["role", "content"]);
        }
        self.others(members, &["model", "messages", "system", "user"]);
        Ok(())
    }

    fn embedding_input(&mut self, members: &Members) -> Result<(), Unreadable> {
        let Some(input) = members.get("input") else {
            return Err(Unreadable::Missing { field: "input" });
        };
        // Token ids are text that we cannot read.
        if contains_number(input) {
            self.read.non_text = true;
        }
        self.others(members, &["model", "user"]);
        Ok(())
    }

    /// The text of a message: a string, or the `text` of its parts.
    fn content(&mut self, content: &Json) -> String {
        match content {
            Json::String(text) => {
                self.note_part(PartKind::Text);
                text.clone()
            }
            Json::Array(parts) => {
                let mut texts: Vec<String> = Vec::new();
                for part in parts {
                    match part {
                        Json::String(text) => {
                            self.note_part(PartKind::Text);
                            texts.push(text.clone());
                        }
                        Json::Object(fields) => self.part(fields, &mut texts),
                        other => self.other(other),
                    }
                }
                texts.join("\n")
            }
            other => {
                self.other(other);
                String::new()
            }
        }
    }

    fn part(&mut self, fields: &Members, texts: &mut Vec<String>) {
        let kind = fields.get("type").and_then(Json::as_str).unwrap_or("text");
        let part_kind = part_kind(kind);
        self.note_part(part_kind);
        if part_kind != PartKind::Text {
            self.read.non_text = true;
        }
        if let Some(text) = fields.get("text").and_then(Json::as_str) {
            texts.push(text.to_owned());
        }
        if kind == "tool_result"
            && let Some(content) = fields.get("content")
        {
            let text = self.content(content);
            texts.push(text);
        }
        let told: &[&str] = if kind == "tool_result" {
            &["type", "text", "content"]
        } else {
            &["type", "text"]
        };
        self.others(fields, told);
    }

    /// A part of the message that is being read.
    fn note_part(&mut self, kind: PartKind) {
        let message = u32::try_from(self.read.facts.messages.len()).unwrap_or(u32::MAX);
        if let Some(parts) = &mut self.read.facts.parts {
            parts.push(Part { message, kind });
        }
    }

    /// All strings of `members` but those under the keys already told.
    fn others(&mut self, members: &Members, told: &[&str]) {
        let encoded = is_encoded(members);
        for (key, value) in members {
            if told.contains(&key.as_str()) {
                continue;
            }
            if ENCODED_KEYS.contains(&key.as_str()) && encoded && value.as_str().is_some() {
                self.read.non_text = true;
                continue;
            }
            // Schemas carry words in their keys too.
            self.read.facts.other_texts.push(key.clone());
            self.other(value);
        }
    }

    fn other(&mut self, value: &Json) {
        match value {
            Json::String(text) if is_data_url(text) => self.read.non_text = true,
            Json::String(text) => self.read.facts.other_texts.push(text.clone()),
            Json::Array(items) => items.iter().for_each(|item| self.other(item)),
            Json::Object(members) => self.others(members, &[]),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }
}

/// What the dialects' names of parts mean. Of parts that are not text, the
/// record says that something was not read; unknown ones count among them.
fn part_kind(name: &str) -> PartKind {
    match name {
        "text" | "input_text" | "output_text" | "refusal" | "thinking" | "tool_use"
        | "tool_result" | "tool_reference" => PartKind::Text,
        "image" | "image_url" | "input_image" => PartKind::Image,
        "audio" | "input_audio" => PartKind::Audio,
        "video" | "video_url" | "input_video" => PartKind::Video,
        "file" | "input_file" | "document" => PartKind::File,
        _ => PartKind::Other,
    }
}

/// Where the dialects put encoded bytes.
const ENCODED_KEYS: [&str; 2] = ["data", "file_data"];

/// An object that declares its `data` to be bytes: Anthropic's base64 sources,
/// OpenAI's audio and files.
fn is_encoded(members: &Members) -> bool {
    members.get("type").and_then(Json::as_str) == Some("base64")
        || members.contains_key("format")
        || members.contains_key("file_data")
}

fn is_data_url(text: &str) -> bool {
    text.starts_with("data:") && text.bytes().take(128).any(|b| b == b',')
}

fn contains_number(value: &Json) -> bool {
    match value {
        Json::Number(_) => true,
        Json::Array(items) => items.iter().any(contains_number),
        _ => false,
    }
}

fn tool_names(members: &Members) -> Vec<String> {
    let of = |key: &str| members.get(key).map(Json::items).unwrap_or_default();
    of("tools")
        .iter()
        .map(|tool| tool.get("function").unwrap_or(tool))
        .chain(of("functions"))
        .filter_map(|tool| tool.get("name").and_then(Json::as_str))
        .map(str::to_owned)
        .collect()
}

fn string(members: &Members, field: &'static str) -> Result<Option<String>, Unreadable> {
    match members.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Unreadable::WrongType {
            field,
            expected: "a string",
        }),
    }
}

fn number(members: &Members, field: &'static str) -> Result<Option<f64>, Unreadable> {
    match members.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Number(value)) => Ok(Some(*value)),
        Some(_) => Err(Unreadable::WrongType {
            field,
            expected: "a number",
        }),
    }
}

fn boolean(members: &Members, field: &'static str) -> Result<Option<bool>, Unreadable> {
    match members.get(field) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(_) => Err(Unreadable::WrongType {
            field,
            expected: "a boolean",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chat(body: &str) -> ReadRequest {
        read_request(Api::ChatCompletions, body.as_bytes()).unwrap()
    }

    #[test]
    fn chat_request_yields_its_facts() {
        let read = chat(
            r#"{"model":"gpt-4o","temperature":0.5,"max_tokens":10,"max_completion_tokens":20,
                "stream":true,"stop":"END","user":"u1",
                "tools":[{"type":"function","function":{"name":"send_email","description":"mails"}}],
                "messages":[{"role":"system","content":"be kind"},
                            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                            {"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"to\":\"x\"}"}}]}]}"#,
        );
        let facts = &read.facts;
        assert_eq!(facts.model.as_deref(), Some("gpt-4o"));
        assert_eq!(
            (facts.temperature, facts.max_tokens, facts.stream),
            (Some(0.5), Some(20.0), Some(true))
        );
        assert_eq!(
            (facts.stop.as_slice(), facts.user.as_deref()),
            (&["END".to_owned()][..], Some("u1"))
        );
        assert_eq!(facts.tools, ["send_email"]);
        assert_eq!(facts.messages[1].content, "a\nb");
        assert!(
            facts.texts().any(|t| t == r#"{"to":"x"}"#),
            "call arguments are text"
        );
        assert!(
            facts.texts().any(|t| t == "mails"),
            "tool definitions are text"
        );
        assert!(!read.non_text);
    }

    #[test]
    fn text_hides_in_no_unknown_field() {
        let read = chat(
            r#"{"model":"m","messages":[{"role":"user","content":"x","future":{"deep":["secret one"]}}],
                "prediction":{"type":"content","content":"secret two"}}"#,
        );
        for secret in ["secret one", "secret two"] {
            assert!(read.facts.texts().any(|t| t == secret), "{secret}");
        }
    }

    #[test]
    fn images_audio_and_files_are_said_to_be_unread() {
        for part in [
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#,
            r#"{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}"#,
            r#"{"type":"file","file":{"file_data":"AAAA","filename":"a.pdf"}}"#,
        ] {
            let read = chat(&format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#
            ));
            assert!(read.non_text, "{part}");
            assert!(!read.facts.texts().any(|t| t.contains("AAAA")), "{part}");
        }
    }

    #[test]
    fn anthropic_system_prompt_comes_first_and_tool_results_are_text() {
        let body = r#"{"model":"claude","max_tokens":5,"system":[{"type":"text","text":"sys"}],
            "metadata":{"user_id":"u9"},
            "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"found"}]}]}]}"#;
        let read = read_request(Api::Messages, body.as_bytes()).unwrap();
        assert_eq!(
            read.facts.messages[0],
            Message {
                role: "system".into(),
                content: "sys".into()
            }
        );
        assert_eq!(read.facts.messages[1].content, "found");
        assert_eq!(read.facts.user.as_deref(), Some("u9"));
    }

    #[test]
    fn embedding_inputs_are_text_and_token_ids_are_not() {
        let text =
            read_request(Api::Embeddings, br#"{"model":"e","input":["one","two"]}"#).unwrap();
        assert!(text.facts.texts().any(|t| t == "two") && !text.non_text);
        let ids = read_request(Api::Embeddings, br#"{"model":"e","input":[[1,2]]}"#).unwrap();
        assert!(ids.non_text);
    }

    #[test]
    fn unreadable_bodies_say_where() {
        use Unreadable::*;
        for (body, expected) in [
            ("", NotJson { line: 1, column: 0 }),
            (
                "{\n\"model\": }",
                NotJson {
                    line: 2,
                    column: 10,
                },
            ),
            ("[]", NotAnObject),
            (r#"{"messages":[]}"#, Missing { field: "model" }),
            (
                r#"{"model":1,"messages":[]}"#,
                WrongType {
                    field: "model",
                    expected: "a string",
                },
            ),
            (
                r#"{"model":"m","messages":{}}"#,
                WrongType {
                    field: "messages",
                    expected: "an array",
                },
            ),
            (
                r#"{"model":"m","messages":[{"content":"x"}]}"#,
                Missing { field: "role" },
            ),
            (
                r#"{"model":"m","model":"n"}"#,
                DuplicateKey {
                    line: 1,
                    column: 25,
                },
            ),
        ] {
            assert_eq!(
                read_request(Api::ChatCompletions, body.as_bytes()),
                Err(expected),
                "{body}"
            );
        }
        assert_eq!(read_request(Api::Models, b"{}"), Err(UnexpectedBody));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body: Vec<u8>) {
            for api in [Api::ChatCompletions, Api::Messages, Api::Embeddings, Api::Models] {
                let _ = read_request(api, &body);
            }
        }

        #[test]
        fn every_string_of_a_message_is_found(word in "[a-z]{8}", key in "[a-z]{1,6}") {
            let body = serde_json::json!({"model": "m", "messages": [
                {"role": "user", "content": [{"type": "text", "text": "x", key: {"n": [word]}}]}]});
            let read = read_request(Api::ChatCompletions, body.to_string().as_bytes());
            // A generated key may collide with a known one and be the wrong type.
            if let Ok(read) = read {
                prop_assert!(read.facts.texts().any(|t| t == word) || read.non_text);
            }
        }
    }
}
