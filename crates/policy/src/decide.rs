//! From conditions to the decision: which rule acts, what it says, on what grounds.

use crate::decimal;
use crate::decision::{
    ActionRequest, Decision, Denial, Effect, LogLine, MatchedRule, ModifyValue, RequestedAction,
    Verdict,
};
use crate::eval::Evaluation;
use crate::facts::Facts;
use crate::hearing::Heard;
use crate::load::Bundle;
use crate::program::{Action, Field, NewValue, Piece, PolicyProgram, RuleProgram, StringId};
use crate::records::{Op, Program};
use crate::settings::{Mode, strictest};
use crate::stages::Stage;

/// Longest piece of a field shown in a message: what a client sends must not flood a log.
const MAX_SHOWN_CHARS: usize = 256;

/// Decides a request. Policies are evaluated in their order; in each the first rule that
/// matches acts; a denial is final, an allow leaves the later policies their say.
///
/// A rule in shadow mode never acts: the first that matches before another rule acts is
/// recorded, and the evaluation goes on. Rules of the response phase are passed over.
pub fn decide(bundle: &Bundle, facts: &Facts) -> Decision {
    decided(bundle, facts, Stage::Request, None)
}

/// Decides an answer by the rules of the response phase, in the same way. The facts are
/// those of the request with `response` filled in; `processing.content_analysis` is that
/// of the answer.
pub fn decide_response(bundle: &Bundle, facts: &Facts) -> Decision {
    decided(bundle, facts, Stage::Response, None)
}

/// What can be said of an answer that is still coming: only rules of the response phase
/// that hold whatever follows are asked. `heard` is what was found in the texts that
/// `facts.response` has so far.
pub fn decide_streaming(bundle: &Bundle, facts: &Facts, heard: &Heard) -> Decision {
    decided(bundle, facts, Stage::Streaming, Some(heard))
}

#[inline(never)]
fn decided(bundle: &Bundle, facts: &Facts, stage: Stage, heard: Option<&Heard>) -> Decision {
    let evaluation = Evaluation::new(bundle, facts, stage);
    if let Some(heard) = heard {
        evaluation.searched.is_heard(heard);
    }
    let mut decision = Decision {
        verdict: Verdict::Allow,
        denial: None,
        matched: Vec::new(),
        shadow: Vec::new(),
        facts: Vec::new(),
        logs: Vec::new(),
        actions: Vec::new(),
        store_first: None,
    };
    for (policy, nth) in bundle.program.policies().zip(0..) {
        evaluation.policy(&policy, nth, &mut decision);
        if decision.verdict == Verdict::Deny {
            break;
        }
    }
    decision
}

impl Evaluation<'_> {
    fn policy(&self, policy: &PolicyProgram<'_>, nth: usize, decision: &mut Decision) {
        decision.store_first = strictest(decision.store_first, policy.store_always);
        let mut shadowed = false;
        let mut from = 0;
        while let Some(matching) = self.bundle.code.at(self.stage).first_match(nth, from, self)
            && let Some(rule) = policy.rules.get(matching)
            && let Some(rule) = self.bundle.program.rule(*rule)
        {
            from = matching + 1;
            if rule.settings.mode != Mode::Shadow {
                let asked = rule.settings.store_first();
                decision.store_first = strictest(decision.store_first, asked);
                self.act(policy, &rule, decision);
                return;
            }
            if shadowed {
                continue;
            }
            shadowed = true;
            decision.shadow.push(MatchedRule {
                policy: self.bundle.string(policy.name).to_owned(),
                rule: self.bundle.string(rule.name).to_owned(),
                effect: effect(&self.bundle.program, &rule),
            });
        }
        decision.store_first = strictest(decision.store_first, policy.store_unmatched);
    }

    /// The rule's actions in their order, up to its first allow or denial.
    #[inline(never)]
    fn act(&self, policy: &PolicyProgram<'_>, rule: &RuleProgram<'_>, decision: &mut Decision) {
        let policy_name = self.bundle.string(policy.name);
        let rule_name = self.bundle.string(rule.name);
        self.grounds(rule.condition, &mut decision.facts);
        let program = &self.bundle.program;
        for action in rule.actions.iter().filter_map(|it| program.action(*it)) {
            match action {
                Action::Allow => break,
                Action::Deny { message, code } => {
                    decision.verdict = Verdict::Deny;
                    decision.denial = Some(Denial {
                        policy: policy_name.to_owned(),
                        rule: rule_name.to_owned(),
                        message: self.render(message),
                        code: self.bundle.string(code).to_owned(),
                    });
                    break;
                }
                Action::Log { level, message } => decision.logs.push(LogLine {
                    level,
                    message: self.render(message),
                    policy: policy_name.to_owned(),
                    rule: rule_name.to_owned(),
                }),
                other => {
                    if let Some(action) = self.request(other) {
                        decision.actions.push(RequestedAction {
                            policy: policy_name.to_owned(),
                            rule: rule_name.to_owned(),
                            action,
                        });
                    }
                }
            }
        }
        decision.matched.push(MatchedRule {
            policy: policy_name.to_owned(),
            rule: rule_name.to_owned(),
            effect: effect(&self.bundle.program, rule),
        });
    }

    #[inline(never)]
    fn request(&self, action: Action<'_>) -> Option<ActionRequest> {
        let program = &self.bundle.program;
        let string = |id: StringId| self.bundle.string(id).to_owned();
        let rendered = |template: Option<u32>| template.map(|template| self.render(template));
        Some(match action {
            Action::Allow | Action::Deny { .. } | Action::Log { .. } => return None,
            Action::Redact {
                fields,
                method,
                replacement,
            } => ActionRequest::Redact {
                fields: fields
                    .iter()
                    .map(|it| program.name_of(*it).to_owned())
                    .collect(),
                texts: self.chosen(fields),
                method,
                replacement: replacement.map(string),
            },
            Action::Modify { field, value } => ActionRequest::Modify {
                field: program.name_of(field).to_owned(),
                texts: self.chosen(&[field]),
                value: match value {
                    NewValue::Null => ModifyValue::Null,
                    NewValue::Bool(value) => ModifyValue::Bool(value),
                    NewValue::Number(number) => ModifyValue::Number(number),
                    NewValue::Text(template) => ModifyValue::Text(self.joined(template)),
                    NewValue::Texts(texts) => {
                        ModifyValue::Texts(texts.iter().map(|text| string(*text)).collect())
                    }
                },
            },
            Action::Route {
                provider,
                model,
                reason,
            } => ActionRequest::Route {
                provider: rendered(provider),
                model: rendered(model),
                reason: rendered(reason),
            },
            Action::Alert {
                webhook,
                message,
                severity,
            } => ActionRequest::Alert {
                webhook: webhook.map(string),
                message: self.render(message),
                severity,
            },
            Action::RateLimit { key, limit, window } => ActionRequest::RateLimit {
                key: self.render(key),
                limit,
                window,
            },
            Action::Budget {
                key,
                limit,
                unit,
                window,
            } => ActionRequest::Budget {
                key: self.render(key),
                limit,
                unit,
                window,
            },
            Action::Tag(tags) => {
                let tags = tags.iter().filter_map(|tag| program.tag(*tag));
                let tags = tags.map(|(name, value)| (string(name), self.render(value)));
                ActionRequest::Tag {
                    tags: tags.collect(),
                }
            }
        })
    }

    /// A message for a person: fields cut and without control characters.
    fn render(&self, template: u32) -> String {
        self.join(template, &mut |text, piece| {
            for (nth, c) in piece.chars().enumerate() {
                if nth == MAX_SHOWN_CHARS {
                    text.push('…');
                    break;
                }
                text.push(if c.is_control() { ' ' } else { c });
            }
        })
    }

    /// A text for a machine: everything as it is.
    pub fn joined(&self, template: u32) -> String {
        self.join(template, &mut |text, piece| text.push_str(piece))
    }

    /// Puts a template together, each field's text by `push`; a missing field is empty.
    fn join(&self, template: u32, push: &mut dyn FnMut(&mut String, &str)) -> String {
        let mut text = String::new();
        for piece in self.bundle.program.pieces(template) {
            match piece {
                Piece::Text(id) => text.push_str(self.bundle.string(id)),
                Piece::Field(Field::Text(field)) => {
                    for (nth, value) in self.texts(field).enumerate() {
                        if nth > 0 {
                            text.push_str(", ");
                        }
                        push(&mut text, value);
                    }
                }
                Piece::Field(Field::Number(field)) => {
                    if let Some(number) = self.number(field) {
                        push(&mut text, &decimal::written(number));
                    }
                }
                Piece::Field(Field::Bool(field)) => {
                    if let Some(value) = self.bool(field) {
                        push(&mut text, if value { "true" } else { "false" });
                    }
                }
                Piece::Field(Field::Messages) => {}
                Piece::Cased(field, case) => {
                    if let Some(value) = self.texts(field).next() {
                        push(&mut text, &case.of(value));
                    }
                }
            }
        }
        text
    }
}

/// The first allow or denial decides; a rule without either lets the exchange go on.
pub(crate) fn effect(program: &Program, rule: &RuleProgram<'_>) -> Effect {
    let decisive =
        rule.actions
            .iter()
            .find_map(|action| match program.records.get(*action as usize)?.op {
                Op::Allow => Some(Effect::Allow),
                Op::Deny => Some(Effect::Deny),
                _ => None,
            });
    decisive.unwrap_or(Effect::Log)
}
