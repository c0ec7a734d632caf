//! Reads a YAML tree key by key, keeping where everything stood.
//!
//! A key is known because something asked for it: what nobody asked for is
//! refused by [`Document::finish`] with the nearest known name. Faults are
//! collected, not returned, so that one run reports all of them.

use std::fmt;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::expand::{ExpandError, expand};

/// How the variables begin that override keys.
const VARIABLE_PREFIX: &str = "MERCATOR_";
/// What stands for the dot between section and key in a variable.
const SECTION_MARK: &str = "__";
/// Variables that are no keys: options of the command.
const OTHER_VARIABLES: [&str; 4] = [
    "MERCATOR_CONFIG",
    "MERCATOR_LOG",
    "MERCATOR_SERVER",
    "MERCATOR_TOKEN",
];
/// One letter in so many may be wrong for a variable to be a misspelt key.
const MISSED_LETTERS: usize = 4;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Counted from 1.
    Line { line: usize, column: usize },
    /// An override such as `MERCATOR_ADMIN__LISTEN`.
    Variable(String),
    /// The key is not written anywhere.
    Nowhere,
}

/// One thing wrong in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    /// The key with its sections, `envoy.listen`; empty for the document as a whole.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Line { line, column } => write!(f, "line {line}, column {column}: ")?,
            Origin::Variable(name) => write!(f, "environment variable `{name}`: ")?,
            Origin::Nowhere => {}
        }
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// One configuration being read: what was asked for and what was wrong.
pub(super) struct Document<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    faults: Vec<Fault>,
    known: Vec<KnownKey>,
}

/// A key something asked for, for comparison with the reference documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub(super) key: String,
    pub(super) default: Option<String>,
}

/// A mapping in the tree, with the keys not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Section {
    path: String,
    /// Elements of lists cannot be named by a variable.
    in_list: bool,
    entries: Vec<Entry>,
    asked: Vec<&'static str>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    origin: Origin,
    node: Node,
    taken: bool,
}

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Null,
    Mapping(Vec<(String, Origin, Node)>),
    List(Vec<(Origin, Node)>),
    /// Kinds of YAML that mean nothing here: tags, mappings as keys.
    Strange,
}

impl<'e> Document<'e> {
    pub(super) fn new(env: &'e dyn Fn(&str) -> Option<String>) -> Document<'e> {
        Document {
            env,
            faults: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The root section; `None` when the text is no YAML mapping at all.
    pub(super) fn parse(&mut self, text: &str) -> Option<Section> {
        let documents = match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents,
            Err(error) => {
                let marker = error.marker();
                self.faults.push(Fault {
                    origin: Origin::Line {
                        line: marker.line(),
                        column: marker.col() + 1,
                    },
                    key: String::new(),
                    message: error.info().to_owned(),
                });
                return None;
            }
        };
        if documents.len() > 1 {
            self.fault_at(Origin::Nowhere, "", "more than one YAML document");
            return None;
        }
        let node = documents.first().map_or(Node::Null, convert);
        match node {
            Node::Null => Some(Section::default()),
            Node::Mapping(entries) => Some(Section::of("", entries)),
            _ => {
                self.fault_at(Origin::Nowhere, "", "a mapping of keys is expected");
                None
            }
        }
    }

    /// A section; one that is not written is empty, its keys have their defaults.
    pub(super) fn section(&mut self, parent: &mut Section, key: &'static str) -> Section {
        let path = parent.path_of(key);
        match parent.take(key) {
            None | Some((_, Node::Null)) => Section::of(&path, Vec::new()),
            Some((_, Node::Mapping(entries))) => Section::of(&path, entries),
            Some((origin, _)) => {
                self.fault_at(origin, &path, "a mapping of keys is expected");
                Section::of(&path, Vec::new())
            }
        }
    }

    /// The elements of a list of mappings; one that is not written is empty.
    pub(super) fn list(&mut self, parent: &mut Section, key: &'static str) -> Vec<Section> {
        let path = parent.path_of(key);
        let elements = match parent.take(key) {
            None | Some((_, Node::Null)) => Vec::new(),
            Some((_, Node::List(elements))) => elements,
            Some((origin, _)) => {
                self.fault_at(origin, &path, "a list is expected");
                Vec::new()
            }
        };
        let mut sections = Vec::new();
        for (index, (origin, element)) in elements.into_iter().enumerate() {
            let path = format!("{path}[{index}]");
            match element {
                Node::Mapping(entries) => sections.push(Section {
                    in_list: true,
                    ..Section::of(&path, entries)
                }),
                _ => self.fault_at(origin, &path, "a mapping of keys is expected"),
            }
        }
        sections
    }

    /// A value with a default, which goes through the same `parse`.
    pub(super) fn value<T>(
        &mut self,
        section: &mut Section,
        key: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.know(section, key, Some(default));
        let (origin, text) = self
            .text(section, key)?
            .unwrap_or((Origin::Nowhere, default.to_owned()));
        self.checked(section, key, origin, &text, parse)
    }

    /// A list of values, or one text with commas between them; one that is not
    /// written is empty.
    pub(super) fn values<T>(
        &mut self,
        section: &mut Section,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        self.know(section, key, Some(""));
        let path = section.path_of(key);
        let variable = variable_name(&path);
        let written = match ((self.env)(&variable), section.take(key)) {
            (Some(text), _) => vec![(Origin::Variable(variable), Node::Text(text))],
            (None, None | Some((_, Node::Null))) => Vec::new(),
            (None, Some((_, Node::List(elements)))) => elements,
            (None, Some(one)) => vec![one],
        };
        let mut values = Some(Vec::new());
        for (origin, node) in written {
            let Node::Text(text) = node else {
                self.fault_at(origin, &path, "a value or a list of values is expected");
                values = None;
                continue;
            };
            let text = match &origin {
                Origin::Variable(_) => Some(text),
                _ => self.expanded(&origin, &path, &text),
            };
            let parts = text.iter().flat_map(|text| text.split(','));
            for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
                match (parse(part), &mut values) {
                    (Ok(value), Some(list)) => list.push(value),
                    (Ok(_), None) => {}
                    (Err(message), _) => {
                        self.fault_at(origin.clone(), &path, &message);
                        values = None;
                    }
                }
            }
            if text.is_none() {
                values = None;
            }
        }
        values
    }

    /// A value that must be written.
    pub(super) fn required<T>(
        &mut self,
        section: &mut Section,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.know(section, key, None);
        let Some((origin, text)) = self.text(section, key)? else {
            let message = "this key is required and missing".to_owned();
            self.fault(section, key, message);
            return None;
        };
        self.checked(section, key, origin, &text, parse)
    }

    fn checked<T>(
        &mut self,
        section: &Section,
        key: &'static str,
        origin: Origin,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault_at(origin, &section.path_of(key), &message);
                None
            }
        }
    }

    /// The text to parse: the variable's, else the file's with `${…}` filled in.
    /// The outer `None` means a fault was noted, the inner that nothing is written.
    fn text(
        &mut self,
        section: &mut Section,
        key: &'static str,
    ) -> Option<Option<(Origin, String)>> {
        let path = section.path_of(key);
        let written = section.take(key);
        let variable = variable_name(&path);
        if !section.in_list
            && let Some(value) = (self.env)(&variable)
        {
            return Some(Some((Origin::Variable(variable), value)));
        }
        let (origin, text) = match written {
            None | Some((_, Node::Null)) => return Some(None),
            Some((origin, Node::Text(text))) => (origin, text),
            Some((origin, _)) => {
                self.fault_at(origin, &path, "a single value is expected");
                return None;
            }
        };
        let text = self.expanded(&origin, &path, &text)?;
        Some(Some((origin, text)))
    }

    /// The text with `${…}` filled in.
    fn expanded(&mut self, origin: &Origin, path: &str, text: &str) -> Option<String> {
        let message = match expand(text, self.env) {
            Ok(text) => return Some(text),
            Err(ExpandError::Unset(name)) => format!(
                "environment variable `{name}` is not set; set it, or give a default with `${{{name}:-…}}`"
            ),
            Err(ExpandError::Unclosed) => "`${` is not closed by `}`".to_owned(),
            Err(ExpandError::NotAName(name)) => {
                format!("`{name}` is not the name of an environment variable")
            }
        };
        self.fault_at(origin.clone(), path, &message);
        None
    }

    /// Refuses the keys nobody asked for.
    pub(super) fn finish(&mut self, section: &Section) {
        for entry in section.entries.iter().filter(|entry| !entry.taken) {
            let known = section.asked.iter().copied();
            let message = match nearest(&entry.key, known) {
                Some(name) => format!("unknown key; did you mean `{name}`?"),
                None => format!("unknown key; known here: {}", section.asked.join(", ")),
            };
            self.fault_at(entry.origin.clone(), &section.path_of(&entry.key), &message);
        }
    }

    /// Refuses the variables that would override a key and name none: all with the mark
    /// of a section in them, others where a key's name is near. `MERCATOR_PORT` and the
    /// like, which Kubernetes sets for a service called `mercator`, mean nothing here.
    pub(super) fn refuse_misspelt(&mut self, names: &[String]) {
        let known = self.known.iter().filter(|known| !known.key.contains('['));
        let known: Vec<String> = known.map(|known| variable_name(&known.key)).collect();
        for name in names {
            let mean = |known: &&String| known.replace('_', "") == name.replace('_', "");
            let meant = known.iter().find(mean).map(String::as_str);
            let others = known.iter().map(String::as_str).chain(OTHER_VARIABLES);
            let near = meant.or_else(|| nearest_variable(name, others));
            let ours = name.starts_with(VARIABLE_PREFIX) && near != Some(name);
            let message = match near {
                Some(near) if ours => format!("no such key; did you mean `{near}`?"),
                None if ours && name.contains(SECTION_MARK) => {
                    "no such key; `MERCATOR_ADMIN__LISTEN` stands for `admin.listen`".to_owned()
                }
                _ => continue,
            };
            self.fault_at(Origin::Variable(name.clone()), "", &message);
        }
    }

    /// Notes a fault at a key already read.
    pub(super) fn fault(&mut self, section: &Section, key: &str, message: String) {
        let entry = section.entries.iter().find(|entry| entry.key == key);
        let origin = entry
            .or(section.entries.first())
            .map_or(Origin::Nowhere, |entry| entry.origin.clone());
        self.fault_at(origin, &section.path_of(key), &message);
    }

    fn fault_at(&mut self, origin: Origin, key: &str, message: &str) {
        self.faults.push(Fault {
            origin,
            key: key.to_owned(),
            message: message.to_owned(),
        });
    }

    fn know(&mut self, section: &Section, key: &str, default: Option<&str>) {
        self.known.push(KnownKey {
            key: section.path_of(key),
            default: default.map(str::to_owned),
        });
    }

    pub(super) fn into_faults(self) -> Vec<Fault> {
        self.faults
    }

    #[cfg(test)]
    pub(super) fn known(&self) -> &[KnownKey] {
        &self.known
    }
}

impl Section {
    fn of(path: &str, entries: Vec<(String, Origin, Node)>) -> Section {
        Section {
            path: path.to_owned(),
            entries: entries
                .into_iter()
                .map(|(key, origin, node)| Entry {
                    key,
                    origin,
                    node,
                    taken: false,
                })
                .collect(),
            ..Section::default()
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn take(&mut self, key: &'static str) -> Option<(Origin, Node)> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.taken = true;
        Some((entry.origin.clone(), entry.node.clone()))
    }
}

fn variable_name(path: &str) -> String {
    let key = path.to_uppercase().replace('.', SECTION_MARK);
    format!("{VARIABLE_PREFIX}{key}")
}

/// Compared without what all have in common, which would make everything near.
fn nearest_variable<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.strip_prefix(VARIABLE_PREFIX)?;
    let known = known.filter_map(|known| known.strip_prefix(VARIABLE_PREFIX).zip(Some(known)));
    let near = |(key, _): &(&str, &str)| {
        strsim::damerau_levenshtein(name, key) <= key.len() / MISSED_LETTERS
    };
    let by_distance = |(key, _): &(&str, &str)| strsim::damerau_levenshtein(name, key);
    let found = known.filter(near).min_by_key(by_distance)?;
    Some(found.1)
}

/// A known name few enough letters away to be what was meant.
fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

fn convert(node: &MarkedYaml<'_>) -> Node {
    match &node.data {
        YamlData::Value(scalar) => match scalar {
            Scalar::Null => Node::Null,
            Scalar::Boolean(value) => Node::Text(value.to_string()),
            Scalar::Integer(value) => Node::Text(value.to_string()),
            Scalar::FloatingPoint(value) => Node::Text(value.to_string()),
            Scalar::String(value) => Node::Text(value.to_string()),
        },
        YamlData::Sequence(elements) => Node::List(
            elements
                .iter()
                .map(|element| (origin(element), convert(element)))
                .collect(),
        ),
        YamlData::Mapping(entries) => Node::Mapping(
            entries
                .iter()
                .map(|(key, value)| match convert(key) {
                    Node::Text(text) => (text, origin(key), convert(value)),
                    _ => (String::new(), origin(key), Node::Strange),
                })
                .collect(),
        ),
        _ => Node::Strange,
    }
}

fn origin(node: &MarkedYaml<'_>) -> Origin {
    Origin::Line {
        line: node.span.start.line(),
        column: node.span.start.col() + 1,
    }
}
