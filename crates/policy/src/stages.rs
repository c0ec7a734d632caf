//! Which rules are asked when, and what has to be known before.
//!
//! A request is decided once, an answer once when it is there. While an answer is still
//! coming, only those rules of the response phase are asked that hold for good once they
//! hold. The compiler says which those are, and what has to be known (`author::stages`).

use crate::code::Code;
use crate::program::RuleProgram;
use crate::records::Program;
use crate::settings::{OnError, Phase};
use crate::views;

/// When rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Request,
    Response,
    /// The answer is still coming.
    Streaming,
}

/// The rules of each stage as jumps.
#[derive(Debug)]
pub(crate) struct Codes([Code; 3]);

impl Codes {
    pub(crate) fn of(program: &Program) -> Codes {
        let stages = [Stage::Request, Stage::Response, Stage::Streaming];
        Codes(stages.map(|stage| Code::of(program, stage)))
    }

    pub(crate) fn at(&self, stage: Stage) -> &Code {
        let Codes([request, response, streaming]) = self;
        match stage {
            Stage::Request => request,
            Stage::Response => response,
            Stage::Streaming => streaming,
        }
    }
}

impl Stage {
    pub(crate) fn asks(self, rule: &RuleProgram<'_>) -> bool {
        let on_answers = rule.settings.phase == Phase::Response;
        match self {
            Stage::Request => !on_answers,
            Stage::Response => on_answers,
            Stage::Streaming => on_answers && rule.holds_for_good,
        }
    }
}

/// What has to be known before a bundle's rules can be decided and carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// What detectors find in requests.
    pub request_findings: bool,
    /// What detectors find in answers.
    pub response_findings: bool,
    /// The answer: there are rules on it.
    pub response: bool,
    /// The texts of the request, still when the answer is there.
    pub request_text_in_response: bool,
    /// How many tokens a request is and what it will cost.
    pub estimates: Option<ExactFrom>,
    /// What any policy or rule asks for: it holds for what could not be judged.
    pub store_first: Option<OnError>,
}

/// From where on an estimate of a request has to be exact, in powers of two.
///
/// Rules that only compare estimates with constants decide alike for all that is less than
/// the least of these: a request that cannot come to so much need not be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactFrom {
    /// Tokens, of the prompt and with those of the answer.
    pub tokens: u64,
    /// Cost in billionths of the currency's unit.
    pub nano: u64,
}

impl Needs {
    /// As a bundle has them.
    pub(crate) fn of(flags: u32, exact_from: u32) -> Needs {
        let has = |nth: u32| flags >> nth & 1 == 1;
        Needs {
            request_findings: has(0),
            response_findings: has(1),
            response: has(2),
            request_text_in_response: has(3),
            estimates: has(4).then(|| ExactFrom::of(exact_from)),
            store_first: views::stored_first(flags >> 5),
        }
    }

    #[cfg(feature = "author")]
    pub(crate) fn flags(self) -> u32 {
        let all = [
            self.request_findings,
            self.response_findings,
            self.response,
            self.request_text_in_response,
            self.estimates.is_some(),
        ];
        let bits = all.iter().zip(0..).map(|(set, nth)| u32::from(*set) << nth);
        bits.sum::<u32>() | views::stored_first_number(self.store_first) << 5
    }

    /// Those of [`ExactFrom`].
    #[cfg(feature = "author")]
    pub(crate) fn exponents(self) -> u32 {
        let exponent = |from: u64| from.checked_ilog2().unwrap_or(0);
        self.estimates
            .map_or(0, |from| exponent(from.tokens) | exponent(from.nano) << 6)
    }
}

impl ExactFrom {
    /// Two exponents of six bits. No exponent: whatever a request comes to is to be exact.
    fn of(exponents: u32) -> ExactFrom {
        let from = |exponents: u32| 1 << (exponents & 63) & !1;
        ExactFrom {
            tokens: from(exponents),
            nano: from(exponents >> 6),
        }
    }
}
