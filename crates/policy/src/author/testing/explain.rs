//! One decision with its reasons: every rule, and every condition that was looked at.
//!
//! Conditions stand as policies write them, never with the text of the exchange.

use super::Decided;
use super::describe::describe;
use crate::decide::effect;
use crate::decision::{Decision, Effect, Verdict};
use crate::eval::Evaluation;
use crate::facts::Facts;
use crate::load::Bundle;
use crate::program::{Node, NodeId, RuleProgram};
use crate::settings::{Mode, Phase};
use serde::Serialize;

/// A decision, and how each rule took part in it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub decision: Decision,
    /// In the order of evaluation.
    pub rules: Vec<ExplainedRule>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ExplainedRule {
    pub policy: String,
    pub rule: String,
    /// What it amounts to where it acts.
    pub effect: Effect,
    pub mode: Mode,
    pub state: RuleState,
    /// Present when the rule was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<ExplainedCondition>,
}

/// What became of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleState {
    /// Its conditions hold: it acts.
    Acted,
    /// Its conditions hold, and it is in shadow mode.
    WouldAct,
    /// Its conditions do not hold.
    NoMatch,
    /// A rule before it settled the matter.
    NotReached,
    /// It speaks of the answer, and nobody said what that is.
    ResponsePhase,
}

/// A condition and those it consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCondition {
    /// As a policy would write it; `all of`, `any of`, `not` and the like where it has parts.
    pub text: String,
    pub holds: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ExplainedCondition>,
}

/// Decides, and tells why.
pub fn explain(bundle: &Bundle, facts: &Facts) -> Explanation {
    let decided = Decided::of(bundle, facts);
    let mut explained = Vec::new();
    let mut stages = Stages::default();
    for policy in bundle.program.policies() {
        stages.begin_policy();
        let rules = policy.rules.iter();
        for rule in rules.filter_map(|rule| bundle.program.rule(*rule)) {
            let phase = rule.settings.phase;
            let stage = stages.of(phase);
            let shadow = rule.settings.mode == Mode::Shadow;
            let asked = decided.of_phase(phase);
            let evaluation = asked.map(|(_, stage)| Evaluation::new(bundle, facts, stage));
            let state = match &evaluation {
                None if decided.request.verdict == Verdict::Deny => RuleState::NotReached,
                None => RuleState::ResponsePhase,
                Some(_) if stage.acted || (shadow && stage.shadowed) => RuleState::NotReached,
                Some(evaluation) => matched(evaluation, &rule),
            };
            stage.acted |= state == RuleState::Acted;
            stage.shadowed |= state == RuleState::WouldAct;
            stage.denied |=
                state == RuleState::Acted && effect(&bundle.program, &rule) == Effect::Deny;
            let looked_at = !matches!(state, RuleState::NotReached | RuleState::ResponsePhase);
            let evaluation = evaluation.filter(|_| looked_at);
            explained.push(ExplainedRule {
                policy: bundle.string(policy.name).to_owned(),
                rule: bundle.string(rule.name).to_owned(),
                effect: effect(&bundle.program, &rule),
                mode: rule.settings.mode,
                state,
                condition: evaluation.map(|evaluation| condition(&evaluation, rule.condition)),
            });
        }
    }
    Explanation {
        decision: decided.together(),
        rules: explained,
    }
}

/// What happened so far at the request, and at the answer.
#[derive(Default)]
struct Stages {
    request: Progress,
    answer: Progress,
}

/// As `decide` goes: of each policy one rule acts, one at most would have.
#[derive(Default)]
struct Progress {
    denied: bool,
    acted: bool,
    shadowed: bool,
}

impl Stages {
    fn begin_policy(&mut self) {
        for progress in [&mut self.request, &mut self.answer] {
            progress.acted = progress.denied;
            progress.shadowed = false;
        }
    }

    fn of(&mut self, phase: Phase) -> &mut Progress {
        match phase {
            Phase::Request => &mut self.request,
            Phase::Response => &mut self.answer,
        }
    }
}

fn matched(evaluation: &Evaluation<'_>, rule: &RuleProgram<'_>) -> RuleState {
    match (evaluation.holds(rule.condition), rule.settings.mode) {
        (false, _) => RuleState::NoMatch,
        (true, Mode::Enforce) => RuleState::Acted,
        (true, Mode::Shadow) => RuleState::WouldAct,
    }
}

fn condition(evaluation: &Evaluation<'_>, id: NodeId) -> ExplainedCondition {
    let node = evaluation.bundle.program.node(id);
    let of = |ids: &[NodeId]| ids.iter().map(|id| condition(evaluation, *id)).collect();
    let (text, parts) = match node {
        Some(Node::All([])) => ("always".to_owned(), Vec::new()),
        Some(Node::Constant(true)) => ("always".to_owned(), Vec::new()),
        Some(Node::Constant(false)) => ("never".to_owned(), Vec::new()),
        Some(Node::All(parts)) => ("all of".to_owned(), of(parts)),
        Some(Node::Any(parts)) => ("any of".to_owned(), of(parts)),
        Some(Node::Not(part)) => ("not".to_owned(), of(&[part])),
        Some(Node::If(condition, then, otherwise)) => (
            "if, then, else".to_owned(),
            of(&[condition, then, otherwise]),
        ),
        _ => (describe(evaluation.bundle, id), Vec::new()),
    };
    ExplainedCondition {
        text,
        holds: evaluation.holds(id),
        parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::author::check;
    use crate::author::compile::compile;
    use crate::facts::RequestFacts;

    const FIRST: &str = r#"
mpl_version: "1.0"
name: first
version: "1.0.0"
priority: 10
rules:
  - name: trial
    mode: shadow
    conditions: [{field: request.model, operator: starts_with, value: gpt}]
    actions: [{type: deny, message: "trial", code: trial}]
  - name: second-trial
    mode: shadow
    conditions: []
    actions: [{type: deny, message: "trial", code: trial}]
  - name: small
    conditions:
      - any:
          - {field: request.model, operator: "==", value: mini}
          - not: {field: request.stream, operator: "==", value: true}
    actions: [{type: deny, message: "no", code: no}]
  - name: rest
    conditions: []
    actions: [{type: allow}]
"#;
    const SECOND: &str = r#"
mpl_version: "1.0"
name: second
version: "1.0.0"
rules:
  - name: never-asked
    conditions: []
    actions: [{type: deny, message: "no", code: no}]
"#;

    fn bundle() -> Bundle {
        let policies: Vec<_> = [FIRST, SECOND]
            .into_iter()
            .filter_map(|text| check(text).policy)
            .collect();
        Bundle::load(&compile(&policies).unwrap()).unwrap()
    }

    fn facts(model: &str, stream: bool) -> Facts {
        Facts {
            request: RequestFacts {
                model: Some(model.to_owned()),
                stream: Some(stream),
                ..RequestFacts::default()
            },
            ..Facts::default()
        }
    }

    fn states(explanation: &Explanation) -> Vec<(&str, RuleState)> {
        let rules = explanation.rules.iter();
        rules.map(|rule| (rule.rule.as_str(), rule.state)).collect()
    }

    #[test]
    fn each_rule_says_what_became_of_it() {
        use RuleState::{Acted, NoMatch, NotReached, WouldAct};
        let explanation = explain(&bundle(), &facts("gpt-4", false));
        assert_eq!(
            states(&explanation),
            [
                ("trial", WouldAct),
                ("second-trial", NotReached),
                ("small", Acted),
                ("rest", NotReached),
                ("never-asked", NotReached),
            ]
        );
        let explanation = explain(&bundle(), &facts("o3", true));
        assert_eq!(
            states(&explanation),
            [
                ("trial", NoMatch),
                ("second-trial", WouldAct),
                ("small", NoMatch),
                ("rest", Acted),
                ("never-asked", Acted),
            ]
        );
    }

    #[test]
    fn explanation_and_decision_agree() {
        for model in ["gpt-4", "mini", "o3"] {
            for stream in [true, false] {
                let Explanation { decision, rules } = explain(&bundle(), &facts(model, stream));
                let named = |state| {
                    let rules = rules.iter().filter(move |rule| rule.state == state);
                    rules.map(|rule| rule.rule.as_str()).collect::<Vec<_>>()
                };
                let acted: Vec<_> = decision.matched.iter().map(|it| &it.rule).collect();
                let would: Vec<_> = decision.shadow.iter().map(|it| &it.rule).collect();
                assert_eq!(named(RuleState::Acted), acted);
                assert_eq!(named(RuleState::WouldAct), would);
            }
        }
    }

    #[test]
    fn conditions_keep_their_shape() {
        let explanation = explain(&bundle(), &facts("o3", true));
        let small = explanation.rules.iter().find(|rule| rule.rule == "small");
        // A group of one is what it holds.
        let any = small.unwrap().condition.as_ref().unwrap();
        assert_eq!((any.text.as_str(), any.holds), ("any of", false));
        let texts: Vec<_> = any.parts.iter().map(|part| part.text.as_str()).collect();
        assert_eq!(texts, ["request.model == mini", "not"]);
        let not = any.parts.last().unwrap().parts.first().unwrap();
        assert_eq!(
            (not.text.as_str(), not.holds),
            ("request.stream == true", true)
        );
    }
}
