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
    /// `POST /v1/embeddings` (OpenAI)
    Embeddings,
    /// `GET /v1/models`, `GET /v1/models/{id}` (both)
    Models,
    /// `POST /v1/messages` (Anthropic)
    Messages,
}

impl Api {
    /// `None`: not an API that can be read. `path` is without its query.
    pub fn of(method: &str, path: &str) -> Option<Api> {
        match (method, path) {
            ("POST", "/v1/chat/completions") => Some(Api::ChatCompletions),
            ("POST", "/v1/embeddings") => Some(Api::Embeddings),
            ("POST", "/v1/messages") => Some(Api::Messages),
            ("GET", "/v1/models") => Some(Api::Models),
            ("GET", _) => {
                let id = path.strip_prefix("/v1/models/")?;
                (!id.is_empty() && !id.contains('/')).then_some(Api::Models)
            }
            _ => None,
        }
    }

    /// OpenTelemetry's `gen_ai.operation.name`, `models` being our own.
    pub fn operation_name(self) -> &'static str {
        match self {
            Api::ChatCompletions | Api::Messages => "chat",
            Api::Embeddings => "embeddings",
            Api::Models => "models",
        }
    }

    /// The dialect of the request where the path alone tells.
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Api::ChatCompletions | Api::Embeddings => Some(Dialect::OpenAi),
            Api::Messages => Some(Dialect::Anthropic),
            Api::Models => None,
        }
    }

    /// Whether a request body belongs to it.
    pub fn has_body(self) -> bool {
        !matches!(self, Api::Models)
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
        ] {
            assert_eq!(Api::of(method, path), expected, "{method} {path}");
        }
    }
}
