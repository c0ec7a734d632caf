//! Which API a request is for, told by method and path alone.

/// Whose wire format the client speaks; also the language of our refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    /// OpenTelemetry's `gen_ai.provider.name`.
    pub fn provider_name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
        }
    }
}

/// An API whose requests can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `POST /v1/chat/completions` (OpenAI)
    ChatCompletions,
    /// `POST /v1/responses` (OpenAI)
    Responses,
    /// What became of a response: `GET` and `DELETE /v1/responses/{id}`,
    /// `POST …/cancel`, `GET …/input_items` (OpenAI)
    StoredResponses,
    /// `POST /v1/completions` (OpenAI, legacy)
    Completions,
    /// `POST /v1/embeddings` (OpenAI)
    Embeddings,
    /// `GET /v1/models`, `GET /v1/models/{id}` (both)
    Models,
    /// `POST /v1/messages` (Anthropic)
    Messages,
    /// `POST /v1/messages/count_tokens` (Anthropic)
    CountTokens,
}

impl Api {
    pub const ALL: [Api; 8] = [
        Api::ChatCompletions,
        Api::Responses,
        Api::StoredResponses,
        Api::Completions,
        Api::Embeddings,
        Api::Models,
        Api::Messages,
        Api::CountTokens,
    ];

    /// `None`: not an API that can be read. `path` is without its query.
    pub fn of(method: &str, path: &str) -> Option<Api> {
        match (method, path) {
            ("POST", "/v1/chat/completions") => Some(Api::ChatCompletions),
            ("POST", "/v1/responses") => Some(Api::Responses),
            ("POST", "/v1/completions") => Some(Api::Completions),
            ("POST", "/v1/embeddings") => Some(Api::Embeddings),
            ("POST", "/v1/messages") => Some(Api::Messages),
            ("POST", "/v1/messages/count_tokens") => Some(Api::CountTokens),
            ("GET", "/v1/models") => Some(Api::Models),
            _ => Api::of_path_with_id(method, path),
        }
    }

    fn of_path_with_id(method: &str, path: &str) -> Option<Api> {
        let mut names = path.strip_prefix("/v1/")?.split('/');
        let (kind, id, rest) = (names.next()?, names.next()?, names.next());
        if id.is_empty() || names.next().is_some() {
            return None;
        }
        match (method, kind, rest) {
            ("GET", "models", None) => Some(Api::Models),
            ("GET" | "DELETE", "responses", None)
            | ("POST", "responses", Some("cancel"))
            | ("GET", "responses", Some("input_items")) => Some(Api::StoredResponses),
            _ => None,
        }
    }

    /// OpenTelemetry's `gen_ai.operation.name`; `models`, `responses` and
    /// `count_tokens` are our own.
    pub fn operation_name(self) -> &'static str {
        match self {
            Api::ChatCompletions | Api::Responses | Api::Messages => "chat",
            Api::Completions => "text_completion",
            Api::Embeddings => "embeddings",
            Api::Models => "models",
            Api::StoredResponses => "responses",
            Api::CountTokens => "count_tokens",
        }
    }

    /// The dialect of the request where the path alone tells.
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Api::ChatCompletions
            | Api::Responses
            | Api::StoredResponses
            | Api::Completions
            | Api::Embeddings => Some(Dialect::OpenAi),
            Api::Messages | Api::CountTokens => Some(Dialect::Anthropic),
            Api::Models => None,
        }
    }

    /// Whether a model answers, which its provider counts in tokens of output.
    pub fn generates(self) -> bool {
        matches!(
            self,
            Api::ChatCompletions | Api::Responses | Api::Completions | Api::Messages
        )
    }

    /// Whether a request body belongs to it.
    pub fn has_body(self) -> bool {
        !matches!(self, Api::Models | Api::StoredResponses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_method_and_path_name_an_api() {
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", Some(Api::ChatCompletions)),
            ("GET", "/v1/chat/completions", None),
            ("POST", "/v1/chat/completions/", None),
            ("POST", "/v1/messages", Some(Api::Messages)),
            ("GET", "/v1/models", Some(Api::Models)),
            ("GET", "/v1/models/gpt-4o", Some(Api::Models)),
            ("GET", "/v1/models/", None),
            ("GET", "/v1/models/a/b", None),
            ("DELETE", "/v1/models/gpt-4o", None),
            ("POST", "/v1/files", None),
            ("POST", "/v1/responses", Some(Api::Responses)),
            ("GET", "/v1/responses", None),
            ("GET", "/v1/responses/resp_1", Some(Api::StoredResponses)),
            ("DELETE", "/v1/responses/resp_1", Some(Api::StoredResponses)),
            ("POST", "/v1/responses/resp_1", None),
            (
                "POST",
                "/v1/responses/resp_1/cancel",
                Some(Api::StoredResponses),
            ),
            ("GET", "/v1/responses/resp_1/cancel", None),
            (
                "GET",
                "/v1/responses/resp_1/input_items",
                Some(Api::StoredResponses),
            ),
            ("GET", "/v1/responses/resp_1/input_items/x", None),
            ("POST", "/v1/responses/input_tokens", None),
            ("POST", "/v1/completions", Some(Api::Completions)),
            ("POST", "/v1/messages/count_tokens", Some(Api::CountTokens)),
            ("POST", "/v1/messages/batches", None),
        ] {
            assert_eq!(Api::of(method, path), expected, "{method} {path}");
        }
    }
}
