//! YAML text to a tree that knows where everything stands.
//!
//! Built from parser events rather than a ready-made loader: positions of keys, every
//! duplicate key, and bounds on depth and on what aliases expand to are ours to keep.
//! JSON is read as the YAML it is. Scalars follow the core schema of YAML 1.2.

use super::MAX_TEXT_BYTES;
use super::diagnostics::{Code, Diagnostics, Span};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Deeper nesting than any policy needs; recursion over the tree is bounded by it.
const MAX_DEPTH: usize = 64;

/// Most nodes of a tree, aliases expanded.
const MAX_NODES: usize = 100_000;

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub span: Span,
    pub value: Value,
    /// Nodes in this subtree, itself included.
    size: usize,
    height: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Bool(bool, String),
    /// With the text as it was written.
    Number(f64, String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    pub(super) fn describe(&self) -> &'static str {
        self.value.describe()
    }
}

impl Value {
    /// What a person would call it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(..) => "a boolean",
            Value::Number(..) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// Parses a text of one document; `None` after a fault that leaves no tree.
pub(super) fn parse(text: &str, diagnostics: &mut Diagnostics) -> Option<Node> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!(
            "the text has {} bytes, more than {MAX_TEXT_BYTES}",
            text.len()
        );
        diagnostics.add(Code::TextTooLarge, Span::at_start(), message);
        return None;
    }
    let text = without_mark(text);
    let mut builder = Builder {
        positions: Positions::of(text),
        diagnostics,
        frames: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    let read = builder.read(text);
    let root = builder.root;
    match read {
        Ok(()) => {
            if root.is_none() {
                diagnostics.add(Code::WrongShape, Span::at_start(), "the text is empty");
            }
            root
        }
        Err(Fault {
            code,
            span,
            message,
            help,
        }) => {
            diagnostics.add_with_help(code, span, message, help);
            None
        }
    }
}

/// Editors of some systems begin a file with a byte order mark, which positions leave out.
pub(super) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// A fault after which reading stops.
struct Fault {
    code: Code,
    span: Span,
    message: String,
    help: Option<&'static str>,
}

impl Fault {
    fn new(code: Code, span: Span, message: impl Into<String>) -> Fault {
        Fault {
            code,
            span,
            message: message.into(),
            help: None,
        }
    }
}

/// A list or mapping that is not finished.
struct Frame {
    start: Span,
    anchor: usize,
    size: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: HashSet<String>,
        key: Option<(String, Span)>,
    },
}

struct Builder<'d> {
    positions: Positions,
    diagnostics: &'d mut Diagnostics,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = next.map_err(|cause| self.syntax(&cause))?;
            let span = self.positions.span(span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(Fault::new(
                            Code::YamlUnsupported,
                            span,
                            "a file holds one policy, and a second document begins here",
                        ));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let value = scalar(text, style, tag.as_deref(), span)?;
                    self.finish(Node::leaf(span, value), anchor)?;
                }
                Event::Alias(anchor) => {
                    let Some(node) = self.anchors.get(&anchor).cloned() else {
                        return Err(Fault::new(
                            Code::YamlUnsupported,
                            span,
                            "an alias to a value that contains it",
                        ));
                    };
                    self.finish(Node { span, ..node }, 0)?;
                }
                Event::SequenceStart(anchor, tag) => {
                    refuse_tag(tag.as_deref(), "seq", span)?;
                    self.begin(span, anchor, Content::List(Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    refuse_tag(tag.as_deref(), "map", span)?;
                    let content = Content::Map {
                        entries: Vec::new(),
                        seen: HashSet::new(),
                        key: None,
                    };
                    self.begin(span, anchor, content)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn syntax(&self, cause: &ScanError) -> Fault {
        let at = self.positions.marker(*cause.marker());
        Fault::new(
            Code::YamlSyntax,
            at,
            format!("this is not YAML: {}", cause.info()),
        )
    }

    fn begin(&mut self, start: Span, anchor: usize, content: Content) -> Result<(), Fault> {
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(start));
        }
        if let Some(Frame {
            content: Content::Map { key: None, .. },
            ..
        }) = self.frames.last()
        {
            return Err(Fault::new(
                Code::YamlUnsupported,
                start,
                "a key is a text, not a list or a mapping",
            ));
        }
        self.frames.push(Frame {
            start,
            anchor,
            size: 1,
            height: 1,
            content,
        });
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Fault> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let node = Node {
            span: frame.start.to(end),
            value: match frame.content {
                Content::List(items) => Value::List(items),
                Content::Map { entries, .. } => Value::Map(entries),
            },
            size: frame.size,
            height: frame.height,
        };
        self.finish(node, frame.anchor)
    }

    /// Puts a finished node into what surrounds it.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(node.size);
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, aliases expanded");
            return Err(Fault::new(Code::TooManyNodes, node.span, message));
        }
        if self.frames.len() + node.height > MAX_DEPTH {
            return Err(too_deep(node.span));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size += node.size;
        frame.height = frame.height.max(node.height + 1);
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, key } => match key.take() {
                None => *key = Some((key_text(&node)?, node.span)),
                Some((key, key_span)) => {
                    if seen.insert(key.clone()) {
                        entries.push(Entry {
                            key,
                            key_span,
                            value: node,
                        });
                    } else {
                        let message = format!("`{key}` is given twice");
                        // Of a budget, older documents call both kinds `type`.
                        let help = (key == "type").then_some(
                            "an action has one `type`; what a budget counts is its `budget_type`",
                        );
                        let code = Code::DuplicateKey;
                        self.diagnostics
                            .add_with_help(code, key_span, message, help);
                    }
                }
            },
        }
        Ok(())
    }
}

fn too_deep(span: Span) -> Fault {
    let message = format!("nested deeper than {MAX_DEPTH} levels");
    Fault::new(Code::TooDeep, span, message)
}

fn key_text(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Text(text) | Value::Number(_, text) | Value::Bool(_, text) => Ok(text.clone()),
        Value::Null | Value::List(_) | Value::Map(_) => {
            let message = "a key is a text, not a list, a mapping or nothing";
            Err(Fault::new(Code::YamlUnsupported, node.span, message))
        }
    }
}

fn refuse_tag(tag: Option<&Tag>, allowed: &str, span: Span) -> Result<(), Fault> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == allowed => Ok(()),
        Some(_) => Err(Fault {
            code: Code::YamlUnsupported,
            span,
            message: "YAML tags mean nothing in a policy".to_owned(),
            help: Some("remove what begins with `!`"),
        }),
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
    span: Span,
) -> Result<Value, Fault> {
    refuse_tag(tag, "str", span)?;
    if style != ScalarStyle::Plain || tag.is_some() {
        return Ok(Value::Text(text.into_owned()));
    }
    Ok(match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true, text.into_owned()),
        "false" | "False" | "FALSE" => Value::Bool(false, text.into_owned()),
        other => match number(other) {
            Some(number) => Value::Number(number, text.into_owned()),
            None => Value::Text(text.into_owned()),
        },
    })
}

/// A finite number of the core schema; `.inf` and `.nan` stay texts, no rule can use them.
fn number(text: &str) -> Option<f64> {
    let radix = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().map(f64::from);
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16).filter(|_| !digits.starts_with('+'));
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8).filter(|_| !digits.starts_with('+'));
    }
    let plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let starts_right = text
        .trim_start_matches(['+', '-'])
        .starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !starts_right || !text.bytes().all(plain) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

impl Node {
    fn leaf(span: Span, value: Value) -> Node {
        Node {
            span,
            value,
            size: 1,
            height: 1,
        }
    }
}

impl Span {
    pub(super) fn at_start() -> Span {
        Span {
            line: 1,
            column: 1,
            end_line: 1,
            end_column: 1,
            offset: 0,
            end_offset: 0,
        }
    }

    fn to(self, end: Span) -> Span {
        Span {
            end_line: end.end_line,
            end_column: end.end_column,
            end_offset: end.end_offset.max(self.offset),
            ..self
        }
    }
}

/// Character positions, which the parser counts, to bytes.
struct Positions {
    /// Byte offset of each character; empty when they are the same.
    offsets: Vec<usize>,
    length: usize,
}

impl Positions {
    fn of(text: &str) -> Positions {
        let offsets = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().map(|(offset, _)| offset).collect(),
        };
        Positions {
            offsets,
            length: text.len(),
        }
    }

    fn offset(&self, index: usize) -> usize {
        match self.offsets.is_empty() {
            true => index.min(self.length),
            false => self.offsets.get(index).copied().unwrap_or(self.length),
        }
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        let start = self.marker(span.start);
        start.to(self.marker(span.end))
    }

    fn marker(&self, marker: Marker) -> Span {
        let offset = self.offset(marker.index());
        let (line, column) = (marker.line(), marker.col() + 1);
        Span {
            line,
            column,
            end_line: line,
            end_column: column,
            offset,
            end_offset: offset,
        }
    }
}
