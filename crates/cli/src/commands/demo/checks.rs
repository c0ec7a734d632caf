//! What has to hold for the demo to have succeeded.
//!
//! Each check is a sentence that a reader can see confirmed or not; nothing is
//! taken from one side only where two can be compared.

use super::Story;
use super::calls::Exchange;
use serde_json::Value;

/// One claim and whether it held.
#[derive(Debug)]
pub struct Check {
    pub claim: &'static str,
    pub held: bool,
}

pub fn judge(story: &Story) -> Vec<Check> {
    let check = |claim, held| Check { claim, held };
    let record = |index: usize| story.records.get(index).and_then(Option::as_ref);
    let (allowed, refused, streamed) = (record(0), record(1), record(2));
    vec![
        check(
            "the allowed call was answered with 200",
            story.allowed.status == 200 && !story.allowed.text.is_empty(),
        ),
        check(
            "the refused call got 403 and an OpenAI error with the rule's code",
            is_denial(&story.refused),
        ),
        check(
            "the refused call never reached the provider, the others did once",
            only_allowed_ones_arrived(story),
        ),
        check(
            "the streamed call came chunk by chunk, not held back, and ended as streams end",
            story.streamed.status == 200 && came_in_chunks(&story.streamed),
        ),
        check(
            "all three are in the evidence",
            story.records.iter().all(Option::is_some),
        ),
        check(
            "the evidence says what was decided, by which rule",
            is(allowed, "/decision", "allow")
                && is(allowed, "/outcome", "completed")
                && is(refused, "/decision", "deny")
                && is(refused, "/outcome", "refused")
                && is(
                    refused,
                    "/reason",
                    story.refused.error_code().unwrap_or("-"),
                )
                && denied_by_a_rule(refused)
                && is(streamed, "/decision", "allow"),
        ),
        check(
            "the evidence has the provider's token counts, the stream's too",
            has_usage(allowed, &story.allowed) && has_usage(streamed, &story.streamed),
        ),
        check(
            "every record names the bundle in force",
            [allowed, refused, streamed]
                .iter()
                .all(|r| is(*r, "/policy/digest", &story.digest)),
        ),
        check(
            "no emitter's sequence has a gap",
            !story.emitters.is_empty()
                && story
                    .emitters
                    .iter()
                    .all(|e| e.get("missing").and_then(Value::as_u64) == Some(0)),
        ),
    ]
}

fn is_denial(refused: &Exchange) -> bool {
    let of = |pointer| refused.answer.pointer(pointer).and_then(Value::as_str);
    refused.status == 403
        && of("/error/type") == Some("policy_violation")
        && refused.error_code().is_some_and(|code| !code.is_empty())
        && refused.error_message().is_some_and(|m| !m.is_empty())
        && refused.decision_id.is_some()
        && of("/error/decision_id") == refused.decision_id.as_deref()
}

fn only_allowed_ones_arrived(story: &Story) -> bool {
    story.reached_provider == [story.allowed.sent, story.streamed.sent]
}

fn came_in_chunks(streamed: &Exchange) -> bool {
    streamed
        .stream
        .as_ref()
        // Held back to its end, the first chunk would come with the last.
        .is_some_and(|s| s.chunks > 1 && s.done && s.first_after * 2 < streamed.took)
}

fn is(record: Option<&Value>, pointer: &str, expected: &str) -> bool {
    record
        .and_then(|r| r.pointer(pointer))
        .and_then(Value::as_str)
        == Some(expected)
}

fn denied_by_a_rule(record: Option<&Value>) -> bool {
    let rules = record.and_then(|r| r.get("matched_rules")?.as_array());
    rules.is_some_and(|rules| rules.iter().any(|r| is(Some(r), "/effect", "deny")))
}

fn has_usage(record: Option<&Value>, exchange: &Exchange) -> bool {
    let count = |pointer| record.and_then(|r| r.pointer(pointer)?.as_u64());
    let recorded = count("/gen_ai.usage.input_tokens").zip(count("/gen_ai.usage.output_tokens"));
    recorded.is_some() && recorded == exchange.usage()
}
