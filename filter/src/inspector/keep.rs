//! Keeps the answer of an exchange that has a key, and gives one that was kept.
//!
//! What is kept is what the client got, after everything that rules took out or put in.
//! Only an exchange that has its key to itself and whose subject is known keeps its
//! answer; whether it was whole, the record says.

use super::{DECISION_ID_HEADER, Flow, Inspector, LocalResponse, ResponseHead, State, Step};
use crate::answers::{AnswerLine, Gathering, KEPT_HEADERS, KeptAnswer};
use crate::config::AnswersConfig;
use jupiter_evidence::{IdempotencyAnswer, IdempotencyRun};
use jupiter_provider::BodyKind;

/// Says that an answer is one that was given before.
const REPLAYED_HEADER: &str = "idempotent-replayed";
/// The decision that it was given under.
const REPLAYED_ID_HEADER: &str = "x-mercator-replayed-decision-id";

impl Inspector {
    fn answers_config(&self) -> Option<&AnswersConfig> {
        let config = self.settings.config.idempotency.as_ref()?;
        config.answers.as_ref()
    }

    /// Whether its answer is to be kept, and the head's [`KEPT_HEADERS`] are needed.
    pub fn keeps_answer(&self) -> bool {
        let run = self.recorder.run();
        matches!(run, Some(IdempotencyRun::First | IdempotencyRun::Again))
            && self.state == State::Passing
            && self.recorder.subject().is_some()
            && self.answers_config().is_some()
    }

    pub(super) fn begin_gathering(&mut self, head: &ResponseHead, kind: &BodyKind) {
        let (true, Some(status)) = (self.keeps_answer(), head.status) else {
            return;
        };
        let most = self.answers_config().map_or(0, |it| it.max_bytes as usize);
        let mut gathering = Gathering::new(status, &head.kept_headers, most);
        if matches!(kind, BodyKind::Opaque(_)) {
            gathering.give_up(IdempotencyAnswer::Unreadable);
        }
        self.gathering = Some(gathering);
    }

    /// The next bytes that leave for the client.
    pub(super) fn gather(&mut self, bytes: &[u8]) {
        if let Some(gathering) = &mut self.gathering {
            gathering.push(bytes);
        }
    }

    /// The answer is not kept.
    pub fn stop_gathering(&mut self, why: IdempotencyAnswer) {
        if let Some(gathering) = &mut self.gathering {
            gathering.give_up(why);
        }
    }

    /// What is held of the answer to be kept.
    pub fn gathered_bytes(&self) -> usize {
        self.gathering.as_ref().map_or(0, Gathering::bytes)
    }

    /// The answer to be kept if the exchange proves to be completed, or why there is none;
    /// `None` where none is asked for.
    pub fn take_answer(&mut self) -> Option<Result<AnswerLine, IdempotencyAnswer>> {
        let answer = self.gathering.take()?.finish();
        let claim = self.claim.take()?;
        let subject = self.recorder.subject()?.to_owned();
        Some(answer.map(|answer| AnswerLine {
            key: claim.key,
            exchange: claim.exchange,
            subject,
            answer,
        }))
    }

    /// Gives the answer that another exchange was given, without asking a provider.
    pub(super) fn replay(&mut self, answer: KeptAnswer) -> Step {
        self.state = State::Replayed;
        self.recorder.on_run(IdempotencyRun::Replayed);
        self.recorder.on_replayed(answer.body.as_bytes());
        let kept = answer.headers.into_iter().filter_map(|(name, value)| {
            let name = KEPT_HEADERS.iter().find(|known| **known == name)?;
            Some((*name, value))
        });
        let mut headers: Vec<(&'static str, String)> = kept.collect();
        headers.push((REPLAYED_HEADER, "true".to_owned()));
        let earlier = self.recorder.earlier();
        headers.extend(earlier.map(|exchange| (REPLAYED_ID_HEADER, exchange.to_string())));
        headers.push((DECISION_ID_HEADER, self.recorder.id()));
        Step::go(Flow::Respond(LocalResponse {
            status: answer.status,
            headers,
            body: answer.body,
            details: "mercator_idempotency_replayed".to_owned(),
        }))
    }
}
