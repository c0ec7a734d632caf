//! What a rule reads: warnings about facts nobody provides, and the phase that follows.

use super::checker::{Checker, shown};
use super::diagnostics::{Code, Span};
use super::fields::{Provision, Resolved, resolve};
use crate::names;
use crate::program::Field;
use crate::settings::Phase;

/// What has been read of the rule at hand.
#[derive(Debug, Default)]
pub(super) struct RuleUses {
    /// Conditions are being read, not actions.
    pub in_conditions: bool,
    request: Option<(String, Span)>,
    response: Option<(String, Span)>,
    /// Fields of the response in messages: there only in the response phase.
    shown: Vec<(String, Span)>,
    /// Fields of the request that actions change: not in the response phase.
    pub changed: Vec<(String, Span)>,
    /// A unit looked wrong: what follows from it is not said as well.
    pub suspicious: bool,
}

impl Checker<'_> {
    /// The field of a path, and what is to be said of it; `None` after an error.
    pub(super) fn field(&mut self, path: &str, span: Span) -> Option<Resolved> {
        let resolved = self.known_field(path, span)?;
        self.note_use(path, resolved, span);
        Some(resolved)
    }

    /// The field of a path, of which only its name is of interest; `None` after an error.
    pub(super) fn known_field(&mut self, path: &str, span: Span) -> Option<Resolved> {
        match resolve(path) {
            Ok(resolved) => {
                if resolved.alternate {
                    let canonical = names::path(resolved.field);
                    let said = format!("`{}`", shown(path));
                    self.alternate(&said, &format!("`{canonical}`"), span);
                }
                Some(resolved)
            }
            Err(cause) => {
                let message = format!("unknown field `{}`", shown(path));
                self.report_with_help(Code::UnknownField, span, message, cause.help);
                None
            }
        }
    }

    pub(super) fn note_use(&mut self, path: &str, resolved: Resolved, span: Span) {
        match resolved.provision {
            Provision::Provided => {
                if self.uses.in_conditions && self.uses.request.is_none() && is_request(&resolved) {
                    self.uses.request = Some((shown(path), span));
                }
            }
            Provision::Later => self.warn_of_missing_fact(path, span),
            Provision::Never => {
                let message = format!("nothing computes `{}`: it is always null", shown(path));
                let help = "conditions on it are false, except `!= …`, `== null` and what stands \
                            under `not`";
                self.report_with_help(Code::FactNeverComputed, span, message, help);
            }
            Provision::Response if !self.uses.in_conditions => {
                self.uses.shown.push((shown(path), span));
            }
            Provision::Response => {
                if self.uses.response.is_none() {
                    self.uses.response = Some((shown(path), span));
                }
            }
        }
    }

    fn warn_of_missing_fact(&mut self, path: &str, span: Span) {
        let message = format!(
            "`{}` is not provided by this version: it is null",
            shown(path)
        );
        let help = match self.uses.in_conditions {
            true => {
                "until it is provided, conditions on it are false, except `!= …`, `== null` and \
                 what stands under `not`"
            }
            false => "until it is provided, it is shown as nothing",
        };
        self.report_with_help(Code::FactNotProvided, span, message, help);
    }

    /// Said of a form that is understood, with the form of the reference.
    pub(super) fn alternate(&mut self, said: &str, canonical: &str, span: Span) {
        let message = format!("{said} is understood as {canonical}");
        let help = format!("write {canonical}");
        self.report_with_help(Code::AlternateForm, span, message, help);
    }

    /// The phase of the rule that has just been read.
    pub(super) fn phase(&mut self, declared: Option<(Phase, Span)>) -> Phase {
        let uses = std::mem::take(&mut self.uses);
        let phase = match (declared, &uses.response) {
            (Some((Phase::Request, _)), Some((path, span))) => {
                let message =
                    format!("`{path}` is not known in the request phase, which the rule asks for");
                let help = "write `phase: response`, or leave `phase` out";
                self.report_with_help(Code::PhaseConflict, *span, message, help);
                Phase::Request
            }
            (Some((phase, _)), _) => phase,
            (None, Some((path, _))) => {
                if let Some((request, span)) = &uses.request {
                    let message = format!(
                        "the rule reads the request (`{request}`) and the response (`{path}`), so \
                         it is decided when the response is there"
                    );
                    let help = "write `phase: response` if that is meant, or make two rules of it";
                    self.report_with_help(Code::PhaseMixed, *span, message, help);
                }
                Phase::Response
            }
            (None, None) => Phase::Request,
        };
        match phase {
            Phase::Request => {
                for (path, span) in &uses.shown {
                    self.warn_of_missing_fact(path, *span);
                }
            }
            Phase::Response => {
                for (path, span) in &uses.changed {
                    let message = format!("`{path}` has left when the rule is decided");
                    let help = "the rule is one on the response; change the request in a rule \
                                that reads the request alone";
                    self.report_with_help(Code::TargetGone, *span, message, help);
                }
            }
        }
        phase
    }
}

fn is_request(resolved: &Resolved) -> bool {
    matches!(resolved.field, Field::Messages) || names::path(resolved.field).starts_with("request.")
}
