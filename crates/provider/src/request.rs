//! Request bodies to facts.
//!
//! Every string in a request counts: what is not a message's own text (tool
//! definitions, call arguments, schemas, metadata, fields we never heard of)
//! lands in `other_texts`, so that nothing can hide in a field of tomorrow.
//! What cannot be judged as text (images, audio, files, token ids, encrypted
//! and stored content) is told by [`ReadRequest::unscanned`], never passed
//! over in silence. [`ReadRequest::places`] says where each text stands, for
//! [`crate::rewrite`].

use crate::attached::Carried;
use crate::json::{self, Fault, LoneSurrogates, Member, Node, Span, Value};
use crate::literal::{self, Form, Inside};
use crate::places::{Joined, Places, TextId};
use crate::text::{NON_TEXT, Opaque, Reading, is_data_url, is_known_key, is_telling_number};
use crate::{Api, Dialect};
use jupiter_policy::facts::{Attachment, Message, Part, PartKind, RequestFacts};
use std::fmt;

/// What a request body said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadRequest {
    pub facts: RequestFacts,
    /// Where the texts of `facts` stand in the body.
    pub places: Places,
    /// Why it was not read in full, if so: some of its content is no text.
    pub unscanned: Option<&'static str>,
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
    TooDeep {
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
            Unreadable::TooDeep { .. } | Unreadable::TooManyValues => "too_complex",
            Unreadable::UnexpectedBody => "unexpected_body",
        }
    }

    fn of(fault: Fault, body: &[u8]) -> Unreadable {
        match fault {
            Fault::Syntax { at } => {
                let (line, column) = json::position(body, at);
                Unreadable::NotJson { line, column }
            }
            Fault::DuplicateKey { at } => {
                let (line, column) = json::position(body, at);
                Unreadable::DuplicateKey { line, column }
            }
            Fault::TooDeep { at } => {
                let (line, column) = json::position(body, at);
                Unreadable::TooDeep { line, column }
            }
            Fault::TooManyValues => Unreadable::TooManyValues,
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
                write!(
                    f,
                    "a key appears twice in one object (line {line}, column {column})"
                )
            }
            Unreadable::TooDeep { line, column } => {
                write!(
                    f,
                    "the body is nested too deep (line {line}, column {column})"
                )
            }
            Unreadable::TooManyValues => f.write_str("the body has too many values"),
            Unreadable::NotAnObject => f.write_str("the body must be a JSON object"),
            Unreadable::WrongType { field, expected } => write!(f, "`{field}` must be {expected}"),
            Unreadable::Missing { field } => write!(f, "`{field}` is required"),
            Unreadable::UnexpectedBody => f.write_str("this API takes no request body"),
        }
    }
}

/// Some text is kept by the provider and only referred to.
const STORED: &str = "stored_content";

/// Reads a whole request body of the given API.
pub fn read_request(api: Api, body: &[u8]) -> Result<ReadRequest, Unreadable> {
    if !api.has_body() {
        return if body.is_empty() {
            Ok(ReadRequest::default())
        } else {
            Err(Unreadable::UnexpectedBody)
        };
    }
    let root =
        json::parse(body, LoneSurrogates::Refused).map_err(|fault| Unreadable::of(fault, body))?;
    let Value::Object(members) = &root.value else {
        return Err(Unreadable::NotAnObject);
    };
    let mut reader = Reader {
        api,
        read: ReadRequest::default(),
    };
    reader.parameters(members)?;
    match api {
        Api::ChatCompletions | Api::Messages | Api::CountTokens => reader.conversation(members)?,
        Api::Responses => reader.input_items(members)?,
        Api::Completions => reader.prompts(members)?,
        Api::Embeddings => reader.embedding_input(members)?,
        Api::Models | Api::StoredResponses => {}
    }
    Ok(reader.read)
}

struct Reader {
    api: Api,
    read: ReadRequest,
}

impl Reader {
    fn parameters(&mut self, members: &[Member<'_>]) -> Result<(), Unreadable> {
        let anthropic = self.api.dialect() == Some(Dialect::Anthropic);
        let facts = &mut self.read.facts;
        for Member { key, value, .. } in members {
            // Bytes are told apart by a few of them, texts one text after the other.
            match key.as_bytes() {
                b"model" => facts.model = string(value, "model")?,
                b"temperature" => facts.temperature = number(value, "temperature")?,
                b"top_p" => facts.top_p = number(value, "top_p")?,
                b"frequency_penalty" => {
                    facts.frequency_penalty = number(value, "frequency_penalty")?;
                }
                b"presence_penalty" => facts.presence_penalty = number(value, "presence_penalty")?,
                b"max_tokens" | b"max_completion_tokens" | b"max_output_tokens" => {
                    let limit = number(value, "max_tokens")?;
                    // Where several are given, the larger is what the provider may spend.
                    facts.max_tokens = facts.max_tokens.into_iter().chain(limit).reduce(f64::max);
                }
                b"stream" => facts.stream = boolean(value, "stream")?,
                b"stop" | b"stop_sequences" => facts.stop.extend(strings(value)),
                b"user" if !anthropic => facts.user = value.as_str().map(str::to_owned),
                b"metadata" if anthropic => {
                    facts.user = value.str_at("user_id").map(str::to_owned);
                }
                b"tools" | b"functions" => {
                    facts
                        .tools
                        .extend(value.items().iter().filter_map(tool_name));
                }
                // A template that the provider keeps; its variables are in the request.
                b"prompt" if self.api == Api::Responses && !value.is_null() => {
                    self.read.unscanned = Some(STORED);
                }
                _ => {}
            }
        }
        if facts.model.is_none() && self.read.unscanned != Some(STORED) {
            return Err(Unreadable::Missing { field: "model" });
        }
        Ok(())
    }

    /// Chat completions and messages.
    fn conversation(&mut self, members: &[Member<'_>]) -> Result<(), Unreadable> {
        self.read.facts.parts = Some(vec![]);
        if let Some(system) = json::get(members, "system") {
            self.message("system".to_owned(), Some(system));
        }
        let messages = required(members, "messages")?;
        let Value::Array(messages) = &messages.value else {
            return Err(Unreadable::WrongType {
                field: "messages",
                expected: "an array",
            });
        };
        for message in messages {
            let Value::Object(fields) = &message.value else {
                return Err(Unreadable::WrongType {
                    field: "messages[]",
                    expected: "an object",
                });
            };
            let role = string(required(fields, "role")?, "role")?
                .ok_or(Unreadable::Missing { field: "role" })?;
            self.message(role, json::get(fields, "content"));
            self.others(fields, &["role", "content"]);
        }
        self.others(members, &["model", "messages", "system", "user", "seed"]);
        Ok(())
    }

    /// Responses: instructions, then one text or a list of items.
    fn input_items(&mut self, members: &[Member<'_>]) -> Result<(), Unreadable> {
        self.read.facts.parts = Some(vec![]);
        if let Some(instructions) = json::get(members, "instructions") {
            self.message("system".to_owned(), Some(instructions));
        }
        match json::get(members, "input").map(|input| (&input.value, input)) {
            Some((Value::Array(items), _)) => items.iter().for_each(|item| self.input_item(item)),
            Some((Value::String(_), input)) => self.message("user".to_owned(), Some(input)),
            Some((Value::Null, _)) | None => {}
            Some(_) => {
                return Err(Unreadable::WrongType {
                    field: "input",
                    expected: "a string or an array",
                });
            }
        }
        self.others(members, &["model", "input", "instructions", "user", "seed"]);
        Ok(())
    }

    fn input_item(&mut self, item: &Node<'_>) {
        let fields = item.members();
        let (kind, role) = (item.str_at("type"), item.str_at("role"));
        match (kind, role) {
            (None | Some("message"), Some(role)) => {
                self.message(role.to_owned(), item.get("content"));
                self.others(fields, &["role", "content"]);
            }
            (Some(kind), _) if kind.ends_with("_output") => {
                self.message("tool".to_owned(), item.get("output"));
                self.others(fields, &["output"]);
            }
            _ => self.other(item),
        }
    }

    /// Completions: one prompt or many, as text or as token ids.
    fn prompts(&mut self, members: &[Member<'_>]) -> Result<(), Unreadable> {
        self.read.facts.parts = Some(vec![]);
        if let Some(prompt) = json::get(members, "prompt") {
            if contains_number(prompt) {
                self.unscanned(NON_TEXT);
            }
            match &prompt.value {
                Value::Array(prompts) => prompts
                    .iter()
                    .filter(|prompt| prompt.as_str().is_some())
                    .for_each(|prompt| self.message("user".to_owned(), Some(prompt))),
                _ => self.message("user".to_owned(), Some(prompt)),
            }
        }
        self.others(members, &["model", "prompt", "user", "seed"]);
        Ok(())
    }

    fn embedding_input(&mut self, members: &[Member<'_>]) -> Result<(), Unreadable> {
        // Token ids are text that we cannot read.
        if contains_number(required(members, "input")?) {
            self.unscanned(NON_TEXT);
        }
        self.others(members, &["model", "user"]);
        Ok(())
    }

    fn unscanned(&mut self, reason: &'static str) {
        self.read.unscanned.get_or_insert(reason);
    }

    fn message(&mut self, role: String, content: Option<&Node<'_>>) {
        let mut text = Joined::new(TextId::Message(self.read.facts.messages.len()));
        if let Some(content) = content {
            self.content(content, &mut text);
        }
        self.read.facts.messages.push(Message {
            role,
            content: text.into_text(),
        });
    }

    /// The text of a message: a string, or the `text` of its parts.
    fn content(&mut self, content: &Node<'_>, into: &mut Joined) {
        match &content.value {
            Value::String(text) => {
                self.note_part(PartKind::Text);
                into.add(text, content.span, Form::Plain, &mut self.read.places);
            }
            Value::Array(parts) => parts.iter().for_each(|part| self.content(part, into)),
            Value::Object(fields) => self.part(content, fields, into),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.other(content),
        }
    }

    fn part(&mut self, part: &Node<'_>, fields: &[Member<'_>], into: &mut Joined) {
        let kind = part.str_at("type").unwrap_or("text");
        let source = part.get("source");
        let source_kind = source.and_then(|s| s.str_at("type"));
        let part_kind = match (kind, source_kind) {
            // A document may come as plain text, or as parts of its own.
            ("document", Some("text" | "content")) => PartKind::Text,
            _ => part_kind(kind),
        };
        self.note_part(part_kind);
        if part_kind != PartKind::Text {
            self.unscanned(NON_TEXT);
            self.attach(part_kind, fields);
        }
        let mut told = vec!["type"];
        for key in ["text", "content"] {
            let Some(value) = part.get(key) else { continue };
            match (key, &value.value) {
                ("text", Value::String(text)) => {
                    into.add(text, value.span, Form::Plain, &mut self.read.places);
                    told.push(key);
                }
                ("content", _) if matches!(kind, "tool_result" | "search_result") => {
                    self.content(value, into);
                    told.push(key);
                }
                _ => {}
            }
        }
        if let (true, Some(source)) = (part_kind == PartKind::Text, source) {
            for key in ["data", "content"] {
                if let Some(value) = source.get(key) {
                    self.content(value, into);
                }
            }
            self.others(source.members(), &["data", "content"]);
            told.push("source");
        }
        self.others(fields, &told);
    }

    /// Something that is no text, in the message that is being read.
    fn attach(&mut self, kind: PartKind, fields: &[Member<'_>]) {
        let message = u32::try_from(self.read.facts.messages.len()).unwrap_or(u32::MAX);
        let carried = Carried::of(kind, fields);
        self.read.facts.attachments.push(Attachment {
            message,
            kind,
            bytes: carried.as_ref().map(|carried| carried.bytes),
            media_type: carried.and_then(|carried| carried.media_type),
        });
    }

    /// A part of the message that is being read.
    fn note_part(&mut self, kind: PartKind) {
        let message = u32::try_from(self.read.facts.messages.len()).unwrap_or(u32::MAX);
        if let Some(parts) = &mut self.read.facts.parts {
            parts.push(Part { message, kind });
        }
    }

    /// All strings of `members` but those under the keys already told.
    fn others(&mut self, members: &[Member<'_>], told: &[&str]) {
        let opaque = Opaque::of(members);
        for member in members {
            let (key, value) = (member.key.as_ref(), &member.value);
            if told.contains(&key) {
                continue;
            }
            match opaque.is(key, value) {
                Some(Reading::Skipped) => continue,
                Some(Reading::Unscanned(reason)) => {
                    self.unscanned(reason);
                    continue;
                }
                None => {}
            }
            // Schemas carry words in their keys too.
            if !is_known_key(key) {
                self.push_other(key, member.key_span, Form::Plain);
            }
            match &value.value {
                Value::String(text) if key == "arguments" => {
                    let shown = literal::shown(text, Inside::default(), false);
                    self.push_other(&shown.text, value.span, Form::Embedded);
                }
                _ => self.other(value),
            }
        }
    }

    fn other(&mut self, value: &Node<'_>) {
        match &value.value {
            Value::String(text) if is_data_url(text) => self.unscanned(NON_TEXT),
            Value::String(text) => self.push_other(text, value.span, Form::Plain),
            Value::Number(text) if is_telling_number(text) => {
                self.push_other(text, value.span, Form::Number);
            }
            Value::Array(items) => items.iter().for_each(|item| self.other(item)),
            Value::Object(members) => self.others(members, &[]),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn push_other(&mut self, text: &str, literal: Span, form: Form) {
        let id = TextId::Other(self.read.facts.other_texts.len());
        self.read.places.note(id, 0, text.len(), literal, form);
        self.read.facts.other_texts.push(text.to_owned());
    }
}

/// What the dialects' names of parts mean. Of parts that are not text, the
/// record says that something was not read; unknown ones count among them.
fn part_kind(name: &str) -> PartKind {
    match name {
        "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text" | "refusal"
        | "thinking" | "redacted_thinking" | "tool_use" | "server_tool_use" | "tool_result"
        | "tool_reference" | "search_result" => PartKind::Text,
        "image" | "image_url" | "input_image" | "computer_screenshot" => PartKind::Image,
        "audio" | "input_audio" => PartKind::Audio,
        "video" | "video_url" | "input_video" => PartKind::Video,
        "file" | "input_file" | "document" => PartKind::File,
        _ => PartKind::Other,
    }
}

fn contains_number(value: &Node<'_>) -> bool {
    match &value.value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(contains_number),
        _ => false,
    }
}

/// Its name, or for the provider's own tools the type.
fn tool_name(tool: &Node<'_>) -> Option<String> {
    let inner = tool.get("function").or_else(|| tool.get("custom"));
    let name = inner.unwrap_or(tool).str_at("name");
    name.or(tool.str_at("type")).map(str::to_owned)
}

fn strings(value: &Node<'_>) -> Vec<String> {
    match &value.value {
        Value::String(one) => vec![one.as_ref().to_owned()],
        _ => value
            .items()
            .iter()
            .filter_map(Node::as_str)
            .map(str::to_owned)
            .collect(),
    }
}

fn required<'t, 'a>(
    members: &'t [Member<'a>],
    field: &'static str,
) -> Result<&'t Node<'a>, Unreadable> {
    json::get(members, field).ok_or(Unreadable::Missing { field })
}

fn string(value: &Node<'_>, field: &'static str) -> Result<Option<String>, Unreadable> {
    match &value.value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.as_ref().to_owned())),
        _ => Err(Unreadable::WrongType {
            field,
            expected: "a string",
        }),
    }
}

fn number(value: &Node<'_>, field: &'static str) -> Result<Option<f64>, Unreadable> {
    let wrong = Unreadable::WrongType {
        field,
        expected: "a number",
    };
    match &value.value {
        Value::Null => Ok(None),
        Value::Number(text) => match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            _ => Err(wrong),
        },
        _ => Err(wrong),
    }
}

fn boolean(value: &Node<'_>, field: &'static str) -> Result<Option<bool>, Unreadable> {
    match &value.value {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        _ => Err(Unreadable::WrongType {
            field,
            expected: "a boolean",
        }),
    }
}

#[cfg(test)]
mod tests;
