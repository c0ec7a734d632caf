//! A case's mappings to facts: the request as a client sends it, and what is known besides.

use crate::author::checker::{Checker, Fields, shown};
use crate::author::diagnostics::{Code, Span};
use crate::author::fields::field_reference;
use crate::author::yaml::{Entry, Node, Value};
use crate::calendar;
use crate::facts::{
    Attachment, ContextFacts, Facts, Message, Part, PartKind, ProcessingFacts, RequestFacts,
    ResponseFacts,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

impl Checker<'_> {
    pub(super) fn case_facts(&mut self, fields: &Fields<'_>) -> Option<Facts> {
        let mut facts = Facts::default();
        if let Some(node) = fields.get("request") {
            facts.request = self.request(node)?;
        }
        let mut context = match fields.get("context") {
            Some(node) => self.object(node, "`context`")?,
            None => Map::new(),
        };
        let mut processing = match fields.get("processing") {
            Some(node) => self.object(node, "`processing`")?,
            None => Map::new(),
        };
        if let Some(node) = fields.get("metadata") {
            self.metadata(node, &mut context, &mut processing);
        }
        let at = |key| fields.get(key).map_or(fields.span(), |node| node.span);
        facts.context = self.context(context, at("context"))?;
        facts.processing =
            self.read::<ProcessingFacts>(processing, "`processing`", at("processing"))?;
        if let Some(node) = fields.get("response") {
            let response = self.object(node, "`response`")?;
            facts.response = self.read::<ResponseFacts>(response, "`response`", node.span)?;
        }
        Some(facts)
    }

    fn object(&mut self, node: &Node, what: &str) -> Option<Map<String, Json>> {
        match json(node) {
            Json::Object(object) => Some(object),
            Json::Null => Some(Map::new()),
            _ => {
                let message = format!("{what} is a mapping, and this is {}", node.describe());
                self.report(Code::WrongShape, node.span, message);
                None
            }
        }
    }

    fn read<T: DeserializeOwned>(
        &mut self,
        object: Map<String, Json>,
        what: &str,
        span: Span,
    ) -> Option<T> {
        match serde_json::from_value(Json::Object(object)) {
            Ok(facts) => Some(facts),
            Err(cause) => {
                let message = format!("{what} cannot be read: {cause}");
                let help = "keys are named as the fields of the language are";
                self.report_with_help(Code::BadCase, span, message, help);
                None
            }
        }
    }

    /// As authors name it: `time`, and `user_attributes` with the user's id.
    fn context(&mut self, mut object: Map<String, Json>, span: Span) -> Option<ContextFacts> {
        let time = match object.remove("time") {
            None => None,
            Some(time) => match time.as_str().and_then(calendar::parse) {
                Some(time) => Some(time),
                None => {
                    let message = format!("`{}` is not a time", shown(&time.to_string()));
                    let help = "write it as `2026-01-31T09:30:00Z`";
                    self.report_with_help(Code::BadCase, span, message, help);
                    return None;
                }
            },
        };
        if let Some(Json::Object(attributes)) = object.get_mut("user_attributes")
            && let Some(id) = attributes.remove("user_id")
        {
            object.insert("user_id".to_owned(), id);
        }
        let mut context: ContextFacts = self.read(object, "`context`", span)?;
        if let Some(time) = time {
            context.time_unix_us = time;
        }
        Some(context)
    }

    /// Free names for what the language has a field for.
    fn metadata(
        &mut self,
        node: &Node,
        context: &mut Map<String, Json>,
        processing: &mut Map<String, Json>,
    ) {
        let Value::Map(entries) = &node.value else {
            let message = format!("`metadata` is a mapping, and this is {}", node.describe());
            self.report(Code::WrongShape, node.span, message);
            return;
        };
        for entry in entries {
            let Some(path) = field_of_metadata(&entry.key) else {
                let message = format!("`{}` stands for no field", shown(&entry.key));
                let help = "write it under `context` or `processing`, with the name of a field";
                self.report_with_help(Code::KeyIgnored, entry.key_span, message, help);
                continue;
            };
            match path.split_once('.') {
                Some(("context", rest)) => put(context, rest, json(&entry.value)),
                Some((_, rest)) => put(processing, rest, json(&entry.value)),
                None => {}
            }
        }
    }

    /// The request a client sends, in the manner of chat completions.
    pub(super) fn request(&mut self, node: &Node) -> Option<RequestFacts> {
        let Value::Map(entries) = &node.value else {
            let message = format!("`request` is a mapping, and this is {}", node.describe());
            self.report(Code::WrongShape, node.span, message);
            return None;
        };
        let mut facts = RequestFacts::default();
        for entry in entries {
            self.request_entry(entry, &mut facts)?;
        }
        Some(facts)
    }

    fn request_entry(&mut self, entry: &Entry, facts: &mut RequestFacts) -> Option<()> {
        let node = &entry.value;
        if matches!(node.value, Value::Null) {
            return Some(());
        }
        match entry.key.as_str() {
            "model" => facts.model = Some(self.text(node, "`model`")?.to_owned()),
            "user" => facts.user = Some(self.text(node, "`user`")?.to_owned()),
            "temperature" => facts.temperature = Some(self.number(node, "`temperature`")?),
            "top_p" => facts.top_p = Some(self.number(node, "`top_p`")?),
            "max_tokens" | "max_completion_tokens" => {
                let number = self.number(node, "`max_tokens`")?;
                facts.max_tokens = Some(facts.max_tokens.map_or(number, |it| it.max(number)));
            }
            "frequency_penalty" => {
                facts.frequency_penalty = Some(self.number(node, "`frequency_penalty`")?);
            }
            "presence_penalty" => {
                facts.presence_penalty = Some(self.number(node, "`presence_penalty`")?);
            }
            "stream" => match node.value {
                Value::Bool(stream, _) => facts.stream = Some(stream),
                _ => return self.wrong(node, "`stream` is a boolean"),
            },
            "stop" => match &node.value {
                Value::Text(stop) => facts.stop = vec![stop.clone()],
                _ => {
                    for item in self.list(node, "`stop`")? {
                        facts.stop.push(self.text(item, "a stop")?.to_owned());
                    }
                }
            },
            "tools" => {
                for item in self.list(node, "`tools`")? {
                    tool(item, facts);
                }
            }
            "messages" => {
                for item in self.list(node, "`messages`")? {
                    self.case_message(item, facts)?;
                }
            }
            // All text counts, wherever it stands.
            _ => strings(node, &mut facts.other_texts),
        }
        Some(())
    }

    fn case_message(&mut self, node: &Node, facts: &mut RequestFacts) -> Option<()> {
        let Value::Map(entries) = &node.value else {
            return self.wrong(node, "a message is a mapping");
        };
        let get = |key: &str| entries.iter().find(|it| it.key == key).map(|it| &it.value);
        let role = match get("role") {
            Some(role) => self.text(role, "`role`")?.to_owned(),
            None => return self.wrong(node, "a message needs `role`"),
        };
        let index = u32::try_from(facts.messages.len()).unwrap_or(u32::MAX);
        let parts = facts.parts.get_or_insert_default();
        let mut content = String::new();
        match get("content").map(|content| &content.value) {
            None | Some(Value::Null) => {}
            Some(Value::Text(text)) => {
                content.push_str(text);
                let kind = PartKind::Text;
                parts.push(Part {
                    message: index,
                    kind,
                });
            }
            Some(Value::List(items)) => {
                for item in items {
                    let (kind, text) = part(item);
                    parts.push(Part {
                        message: index,
                        kind,
                    });
                    if kind != PartKind::Text {
                        facts.attachments.push(Attachment {
                            message: index,
                            kind,
                            media_type: None,
                            bytes: None,
                        });
                    }
                    if let Some(text) = text {
                        if !content.is_empty() {
                            content.push('\n');
                        }
                        content.push_str(text);
                    }
                }
            }
            Some(_) => return self.wrong(node, "`content` is a text, or a list of parts"),
        }
        for entry in entries {
            if !matches!(entry.key.as_str(), "role" | "content") {
                strings(&entry.value, &mut facts.other_texts);
            }
        }
        facts.messages.push(Message { role, content });
        Some(())
    }

    fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        match node.value {
            Value::Number(number, _) => Some(number),
            _ => self.wrong(node, &format!("{what} is a number")),
        }
    }

    fn wrong<T>(&mut self, node: &Node, rule: &str) -> Option<T> {
        let message = format!("{rule}, and this is {}", node.describe());
        self.report(Code::WrongShape, node.span, message);
        None
    }
}

/// The field a free name stands for: `tier`, `risk_score`, `estimated_cost`.
fn field_of_metadata(key: &str) -> Option<&'static str> {
    match key {
        "estimated_cost" | "cost" => return Some("processing.cost_estimate.total_cost"),
        "estimated_tokens" | "tokens" => return Some("processing.token_estimate.total_tokens"),
        _ => {}
    }
    let mut found = field_reference().map(|info| info.path).filter(|path| {
        (path.starts_with("context.") || path.starts_with("processing."))
            && !path.starts_with("context.time.")
            && path.rsplit('.').next() == Some(key)
    });
    let only = found.next()?;
    found.next().is_none().then_some(only)
}

fn put(object: &mut Map<String, Json>, path: &str, value: Json) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object
                .entry(first)
                .or_insert_with(|| Json::Object(Map::new()));
            if let Json::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn tool(node: &Node, facts: &mut RequestFacts) {
    match &node.value {
        Value::Text(name) => facts.tools.push(name.clone()),
        Value::Map(entries) => {
            let inner = match value_of(entries, "function") {
                Some(Value::Map(inner)) => inner,
                _ => entries,
            };
            if let Some(Value::Text(name)) = value_of(inner, "name") {
                facts.tools.push(name.clone());
            }
            strings(node, &mut facts.other_texts);
        }
        _ => {}
    }
}

pub(super) fn value_of<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Value> {
    let entry = entries.iter().find(|entry| entry.key == key)?;
    Some(&entry.value.value)
}

/// A part's kind, and its text.
fn part(node: &Node) -> (PartKind, Option<&str>) {
    let entries = match &node.value {
        Value::Text(text) => return (PartKind::Text, Some(text)),
        Value::Map(entries) => entries,
        _ => return (PartKind::Other, None),
    };
    let get = |key| match value_of(entries, key)? {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    };
    let kind = match get("type").unwrap_or("text") {
        "text" | "input_text" | "output_text" | "refusal" => PartKind::Text,
        "image" | "image_url" | "input_image" => PartKind::Image,
        "audio" | "input_audio" => PartKind::Audio,
        "video" | "video_url" => PartKind::Video,
        "file" | "input_file" | "document" => PartKind::File,
        _ => PartKind::Other,
    };
    (kind, get("text"))
}

fn strings(node: &Node, texts: &mut Vec<String>) {
    match &node.value {
        Value::Text(text) => texts.push(text.clone()),
        Value::List(items) => items.iter().for_each(|item| strings(item, texts)),
        Value::Map(entries) => {
            for entry in entries {
                strings(&entry.value, texts);
            }
        }
        Value::Null | Value::Bool(..) | Value::Number(..) => {}
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value, _) => Json::Bool(*value),
        Value::Number(number, text) => match text.parse::<u64>() {
            // An index is whole, and stays it.
            Ok(whole) => Json::from(whole),
            Err(_) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
        },
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => {
            let pairs = entries
                .iter()
                .map(|entry| (entry.key.clone(), json(&entry.value)));
            Json::Object(pairs.collect())
        }
    }
}
