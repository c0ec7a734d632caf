//! The author's side: policy text to diagnostics, or to the bytes of a bundle.
//!
//! [`check`] reads a text and says everything that is wrong with it; only a text without
//! errors yields a [`Policy`]; [`compile`] turns policies into a bundle. The steps, each
//! its own file: `yaml` (text to a tree with positions), `document` (the policy and its
//! rules), `variables`, `templates`, `fields`, `conditions`, `cel`, `actions` (tree to
//! typed policy), `compile` (typed policy to program).

mod actions;
mod analysis;
mod cel;
mod checker;
mod codes;
mod compile;
mod conditions;
mod diagnostics;
mod document;
mod domains;
mod encode;
mod fields;
mod functions;
pub mod generate;
mod limits;
mod manual;
mod operands;
mod patterns;
mod render;
mod requests;
mod schema;
mod selectors;
pub(crate) mod stages;
mod templates;
pub mod testing;
mod typed;
mod units;
mod uses;
mod variables;
mod yaml;

pub use actions::{ACTIONS, ACTIONS_NOT_PROVIDED};
pub use cel::CEL_FUNCTIONS;
pub use codes::Code;
pub use compile::{CompileError, compile};
pub use conditions::OPERATORS;
pub use diagnostics::{Diagnostic, Severity, Span};
pub use fields::{FieldInfo, FieldType, Provision, field_reference};
pub use functions::FUNCTIONS;
pub use manual::{about_action, about_function, about_key};
pub use render::render;
pub use schema::{schema, tests_schema};
pub use typed::Policy;

/// Longest policy text that is read.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// Versions of the language (`mpl_version`) that are understood.
pub const MPL_VERSIONS: &[&str] = &["1.0"];

/// What [`check`] found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Present exactly when no diagnostic is an error.
    pub policy: Option<Policy>,
    /// In the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses and validates one policy. Never panics, whatever the text; deterministic.
pub fn check(text: &str) -> Checked {
    let mut diagnostics = diagnostics::Diagnostics::default();
    let tree = yaml::parse(text, &mut diagnostics);
    let policy = tree.and_then(|tree| document::policy(&tree, text, &mut diagnostics));
    let failed = diagnostics.has_errors();
    Checked {
        policy: policy.filter(|_| !failed),
        diagnostics: diagnostics.in_order(),
    }
}
