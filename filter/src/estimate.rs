//! What a request will take, before it goes on.
//!
//! Tokens as `jupiter_tokens` counts them, costs by its prices. An answer is
//! taken to be as long as the request lets it be; `docs/reference/tokens.md`
//! says what that leaves out.

use jupiter_policy::ExactFrom;
use jupiter_policy::facts::{CostEstimate, RequestFacts, TokenCounts};
use jupiter_provider::Api;
use jupiter_tokens::prices::Price;
use jupiter_tokens::{Prompt, counting_of, prompt_tokens, prompt_tokens_at_most};

/// Tokens that an answer is taken to have when the request sets no limit.
const UNLIMITED_ANSWER: u64 = 1_024;

/// `processing.token_estimate` and `processing.cost_estimate` of policies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub tokens: TokenCounts,
    pub cost: CostEstimate,
}

/// Estimates a request by its texts and the price of its model. A request too small to be
/// told from any smaller one by the rules is not counted: it is taken for the most it can be.
pub fn estimate(
    api: Api,
    request: &RequestFacts,
    price: Option<Price>,
    exact_from: ExactFrom,
) -> Estimate {
    let prompt = || {
        let messages = request.messages.iter();
        Prompt {
            messages: messages.map(|message| (message.role.as_str(), message.content.as_str())),
            others: request.other_texts.iter().map(String::as_str),
        }
    };
    let counting = counting_of(request.model.as_deref().unwrap_or_default());
    let completion = match api {
        Api::Embeddings | Api::Models | Api::StoredResponses | Api::CountTokens => 0,
        // A number of JSON: what is negative or no number comes to 0.
        _ => request
            .max_tokens
            .map_or(UNLIMITED_ANSWER, |tokens| tokens as u64),
    };
    let cost = |prompt| price.map(|price| price.of(prompt, completion));
    let at_most = prompt_tokens_at_most(counting, prompt());
    let needs_counting = at_most.saturating_add(completion) >= exact_from.tokens
        || cost(at_most).is_some_and(|cost| cost.total_nano() >= exact_from.nano);
    let prompt = match needs_counting {
        true => prompt_tokens(counting, prompt()),
        false => at_most,
    };
    let cost = cost(prompt);
    let dollars = |nano: u64| nano as f64 / 1e9;
    Estimate {
        tokens: TokenCounts {
            prompt_tokens: Some(prompt as f64),
            completion_tokens: Some(completion as f64),
            total_tokens: Some(prompt.saturating_add(completion) as f64),
        },
        cost: CostEstimate {
            prompt_cost: cost.map(|cost| dollars(cost.input_nano)),
            completion_cost: cost.map(|cost| dollars(cost.output_nano)),
            total_cost: cost.map(|cost| dollars(cost.total_nano())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupiter_policy::facts::Message;
    use jupiter_tokens::prices::price_of;

    const ALWAYS: ExactFrom = ExactFrom { tokens: 0, nano: 0 };

    #[test]
    fn only_what_may_reach_a_limit_is_counted() {
        // "user" and "hello world" are 15 bytes; six tokens are around them.
        let (most, exact) = (Some(21.0), Some(9.0));
        for (tokens, nano, prompt) in [
            (32, 1 << 63, most),
            (16, 1 << 63, exact),
            (1 << 63, 1 << 17, most),
            (1 << 63, 1 << 16, exact),
        ] {
            let request = request("gpt-4o", Some(5.0));
            let price = price_of("gpt-4o", &[]);
            let from = ExactFrom { tokens, nano };
            let estimate = estimate(Api::ChatCompletions, &request, price, from);
            assert_eq!(estimate.tokens.prompt_tokens, prompt, "{from:?}");
        }
    }

    fn request(model: &str, max_tokens: Option<f64>) -> RequestFacts {
        RequestFacts {
            model: Some(model.to_owned()),
            messages: vec![Message {
                role: "user".to_owned(),
                content: "hello world".to_owned(),
            }],
            max_tokens,
            ..RequestFacts::default()
        }
    }

    #[test]
    fn answer_is_taken_to_be_as_long_as_it_may_be() {
        for (api, limit, completion) in [
            (Api::ChatCompletions, Some(200.0), 200.0),
            (Api::ChatCompletions, None, 1_024.0),
            (Api::ChatCompletions, Some(-1.0), 0.0),
            (Api::Embeddings, None, 0.0),
        ] {
            let request = request("gpt-4o", limit);
            let estimate = estimate(api, &request, price_of("gpt-4o", &[]), ALWAYS);
            // Three around the message, one for its role, two for its text, three to begin.
            let (prompt, tokens) = (9.0, estimate.tokens);
            assert_eq!(tokens.prompt_tokens, Some(prompt));
            assert_eq!(tokens.completion_tokens, Some(completion), "{limit:?}");
            assert_eq!(tokens.total_tokens, Some(prompt + completion));
            let cost = estimate.cost;
            assert_eq!(cost.prompt_cost, Some(9.0 * 2_500.0 / 1e9));
            assert_eq!(cost.completion_cost, Some(completion * 10_000.0 / 1e9));
        }
    }

    #[test]
    fn model_without_a_price_has_no_cost() {
        let estimate = estimate(Api::ChatCompletions, &request("ours", None), None, ALWAYS);
        assert_eq!(estimate.cost, CostEstimate::default());
        assert!(estimate.tokens.total_tokens.is_some());
    }
}
