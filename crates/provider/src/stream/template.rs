//! Events of our own: as the provider would say a piece of a channel's text.
//!
//! Made from the first event of the channel, whose ids, model and time all
//! of its events share.

use super::{Channel, Spot, TextKind};
use crate::Api;
use crate::json::{Member, Node};
use crate::literal;

/// An event with a place for a text.
#[derive(Debug)]
pub(super) struct Template {
    name: Option<String>,
    /// Whether typed and numbered.
    numbered: bool,
    before: String,
    after: String,
}

impl Template {
    pub(super) fn of(api: Api, root: &Node<'_>, data: &[u8], spot: &Spot<'_>) -> Template {
        let source = Source {
            data: std::str::from_utf8(data).unwrap_or_default(),
        };
        match api {
            Api::Messages | Api::CountTokens | Api::Models => anthropic(root, &source, spot),
            Api::Responses | Api::StoredResponses => typed(root, &source, spot),
            Api::ChatCompletions | Api::Completions | Api::Embeddings => {
                chunk(api, root, &source, spot)
            }
        }
    }

    pub(super) fn write(&self, text: &str, number: u64, out: &mut Vec<u8>) {
        let mut event = String::new();
        if let Some(name) = &self.name {
            event.push_str(&format!("event: {name}\n"));
        }
        event.push_str("data: {");
        if self.numbered {
            event.push_str(&format!("\"sequence_number\":{number},"));
        }
        event.push_str(&self.before);
        event.push_str(&literal::quoted(text));
        event.push_str(&self.after);
        event.push_str("}\n\n");
        out.extend_from_slice(event.as_bytes());
    }
}

struct Source<'a> {
    data: &'a str,
}

impl Source<'_> {
    /// A value as it is written; a line break can stand only between values.
    fn of(&self, node: &Node<'_>) -> String {
        let text = self.data.get(node.span.range()).unwrap_or_default();
        text.replace('\n', " ")
    }

    /// Members as they are written, each followed by a comma.
    fn members(&self, members: &[Member<'_>], but: &[&str]) -> String {
        members
            .iter()
            .filter(|m| !but.contains(&m.key.as_ref()))
            .map(|m| format!("{}:{},", literal::quoted(&m.key), self.of(&m.value)))
            .collect()
    }
}

fn anthropic(root: &Node<'_>, source: &Source<'_>, spot: &Spot<'_>) -> Template {
    let Channel { kind, index, .. } = spot.channel;
    let unknown = root.get("delta").and_then(|delta| {
        let key = key_of(delta, spot)?;
        let kind = source.of(delta.get("type")?);
        Some((kind, key.to_owned()))
    });
    let (kind, key) = match (kind, unknown) {
        (TextKind::Reasoning, _) => ("\"thinking_delta\"".to_owned(), "thinking".to_owned()),
        (TextKind::ToolArguments, _) => {
            ("\"input_json_delta\"".to_owned(), "partial_json".to_owned())
        }
        (TextKind::Other, Some(unknown)) => unknown,
        _ => ("\"text_delta\"".to_owned(), "text".to_owned()),
    };
    let key = literal::quoted(&key);
    Template {
        name: Some("content_block_delta".to_owned()),
        numbered: false,
        before: format!(
            "\"type\":\"content_block_delta\",\"index\":{index},\"delta\":{{\"type\":{kind},{key}:"
        ),
        after: "}".to_owned(),
    }
}

fn typed(root: &Node<'_>, source: &Source<'_>, spot: &Spot<'_>) -> Template {
    let key = key_of(root, spot).unwrap_or("delta");
    let but = ["sequence_number", "logprobs", "obfuscation", key];
    let logprobs = root.get("logprobs").map_or("", |_| "\"logprobs\":[],");
    let kind = root.str_at("type").unwrap_or_default();
    Template {
        // The name is a line of its own.
        name: Some(kind.replace(['\n', '\r'], " ")),
        numbered: root.get("sequence_number").is_some(),
        before: format!(
            "{}{logprobs}{}:",
            source.members(root.members(), &but),
            literal::quoted(key)
        ),
        after: String::new(),
    }
}

fn chunk(api: Api, root: &Node<'_>, source: &Source<'_>, spot: &Spot<'_>) -> Template {
    let head = source.members(
        root.members(),
        &["choices", "usage", "obfuscation", "error"],
    );
    let Channel { kind, index, part } = spot.channel;
    let choices = root.get("choices").map(Node::items).unwrap_or_default();
    let (before, after) = match (api, kind) {
        (Api::Completions, TextKind::Content) => ("\"text\":".to_owned(), String::new()),
        _ => {
            let (path, close) = choices
                .iter()
                .filter_map(|choice| choice.get("delta"))
                .find_map(|delta| path_in_delta(delta, spot, part))
                .unwrap_or_else(|| ("\"content\":".to_owned(), ""));
            (format!("\"delta\":{{{path}"), format!("{close}}}"))
        }
    };
    Template {
        name: None,
        numbered: false,
        before: format!("{head}\"choices\":[{{\"index\":{index},{before}"),
        after: format!("{after},\"logprobs\":null,\"finish_reason\":null}}]"),
    }
}

/// What leads to the text in a delta, and what closes it again.
fn path_in_delta(delta: &Node<'_>, spot: &Spot<'_>, part: u32) -> Option<(String, &'static str)> {
    if let Some(key) = key_of(delta, spot) {
        return Some((format!("{}:", literal::quoted(key)), ""));
    }
    for member in delta.members() {
        match member.key.as_ref() {
            "tool_calls" => {
                for call in member.value.items() {
                    for kind in ["function", "custom"] {
                        if let Some(key) = call.get(kind).and_then(|f| key_of(f, spot)) {
                            let key = literal::quoted(key);
                            let path =
                                format!("\"tool_calls\":[{{\"index\":{part},\"{kind}\":{{{key}:");
                            return Some((path, "}}]"));
                        }
                    }
                }
            }
            "function_call" | "audio" => {
                if let Some(key) = key_of(&member.value, spot) {
                    let (kind, key) = (&member.key, literal::quoted(key));
                    return Some((format!("\"{kind}\":{{{key}:"), "}"));
                }
            }
            _ => {}
        }
    }
    None
}

/// The member of `node` whose literal the text is.
fn key_of<'t>(node: &'t Node<'_>, spot: &Spot<'_>) -> Option<&'t str> {
    let member = node
        .members()
        .iter()
        .find(|m| m.value.span == spot.literal)?;
    Some(&member.key)
}
