//! Talks to a control plane's REST API for the commands that need one.
//!
//! A refusal arrives as a [`Problem`] (RFC 9457) and is shown as one; where
//! nobody answers, the error says how to start somebody. The token never
//! appears in a message.

use crate::exit::{Answer, Failure, with_causes};
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which control plane, and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub struct ServerArgs {
    /// Admin address of the control plane
    #[arg(
        long,
        global = true,
        env = "MERCATOR_SERVER",
        default_value = "http://127.0.0.1:8081",
        value_name = "URL"
    )]
    server: String,
    #[command(flatten)]
    credential: CredentialArgs,
}

/// Who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub struct CredentialArgs {
    /// API token; better given in the environment, where no process list shows it
    #[arg(long, global = true, env = "MERCATOR_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// File to read the token from [default: ./data/admin.token]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

/// An API token; its text is only ever put into a request.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl std::str::FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Token, Self::Err> {
        Ok(Token(text.trim().to_owned()))
    }
}

/// Why there is no answer to show.
#[derive(Debug)]
pub enum ClientError {
    BadServer {
        server: String,
        cause: String,
    },
    NoToken {
        path: PathBuf,
        cause: std::io::Error,
    },
    BadToken,
    Unreachable {
        server: Url,
        cause: String,
    },
    TimedOut {
        server: Url,
    },
    Refused(Box<Problem>),
    Unreadable {
        server: Url,
        cause: String,
    },
}

/// What the control plane says when it refuses (`application/problem+json`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    pub code: String,
    pub request_id: String,
    pub diagnostics: Vec<Value>,
    /// The whole of it, for `--format json`.
    #[serde(skip)]
    pub document: Value,
}

/// A connection to one control plane.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<HeaderValue>,
}

impl ServerArgs {
    /// Reads the token and prepares a client; nothing is sent yet.
    pub fn client(&self) -> Result<Client, ClientError> {
        Client::new(&self.server, Some(&self.credential.token()?))
    }
}

impl CredentialArgs {
    /// As given, or read from its file.
    pub fn token(&self) -> Result<Token, ClientError> {
        match &self.token {
            Some(token) => Ok(token.clone()),
            None => read_token(&self.token_path()),
        }
    }

    fn token_path(&self) -> PathBuf {
        self.token_file.clone().unwrap_or_else(|| {
            let data = std::env::var_os("MERCATOR_DATA_DIR").unwrap_or_else(|| "data".into());
            Path::new(&data).join("admin.token")
        })
    }
}

/// The token in `path`.
pub fn read_token(path: &Path) -> Result<Token, ClientError> {
    let text = std::fs::read_to_string(path).map_err(|cause| ClientError::NoToken {
        path: path.to_owned(),
        cause,
    })?;
    Ok(Token(text.trim().to_owned()))
}

impl Client {
    pub fn new(server: &str, token: Option<&Token>) -> Result<Client, ClientError> {
        let bad_server = |cause: &str| ClientError::BadServer {
            server: server.to_owned(),
            cause: cause.to_owned(),
        };
        let url = Url::parse(server).map_err(|e| bad_server(&e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad_server("not an http or https URL"));
        }
        let token = match token {
            None => None,
            Some(Token(text)) if text.is_empty() => return Err(ClientError::BadToken),
            Some(Token(text)) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {text}"))
                    .map_err(|_| ClientError::BadToken)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .user_agent(concat!("mercator/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&url) {
            // A proxy for the outside world has no business with this machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| bad_server(&with_causes(&e)))?;
        Ok(Client {
            http,
            server: url,
            token,
        })
    }

    pub async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.send(Method::GET, path, query, None).await
    }

    /// As [`get`](Self::get), into a type of its own.
    pub async fn read_as<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let response = self.answer(Method::GET, path, query, None).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.not_answered(e))?;
        if !status.is_success() {
            self.read(status, &bytes)?;
        }
        serde_json::from_slice(&bytes).map_err(|e| ClientError::Unreadable {
            server: self.server.clone(),
            cause: e.to_string(),
        })
    }

    pub async fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        self.send(Method::DELETE, path, &[], None).await
    }

    pub async fn put(
        &self,
        path: &[&str],
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Value, ClientError> {
        self.send(Method::PUT, path, &[], Some((content_type, body)))
            .await
    }

    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, ClientError> {
        let body = body.to_string().into_bytes();
        self.send(Method::POST, path, &[], Some(("application/json", body)))
            .await
    }

    /// One evidence record: its canonical bytes, and beside them what is known
    /// of its arrival.
    pub async fn evidence(&self, id: &str) -> Result<(Bytes, HeaderMap), ClientError> {
        let path = ["v1", "evidence", id];
        let response = self.answer(Method::GET, &path, &[], None).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.map_err(|e| self.not_answered(e))?;
        self.read(status, &bytes)?;
        Ok((bytes, headers))
    }

    /// What lies at a path, as it is.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bytes_of(path, &[]).await
    }

    /// The same with a query.
    pub async fn bytes_of(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Bytes, ClientError> {
        let path: Vec<&str> = path.split('/').collect();
        let response = self.answer(Method::GET, &path, query, None).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.not_answered(e))?;
        match status.is_success() {
            true => Ok(bytes),
            false => self.read(status, &bytes).map(|_| bytes),
        }
    }

    /// What time it is there, to the second; none where answers do not tell.
    pub async fn date(&self, path: &[&str]) -> Result<Option<SystemTime>, ClientError> {
        let response = self.answer(Method::GET, path, &[], None).await?;
        let date = response.headers().get(DATE);
        let date = date.and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| httpdate::parse_http_date(date).ok()))
    }

    /// Digest of the bundle in force; none while there is no policy.
    pub async fn bundle_digest(&self) -> Result<Option<String>, ClientError> {
        let path = ["v1", "bundles", "current"];
        let response = self.answer(Method::HEAD, &path, &[], None).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let digest = response.headers().get("x-mercator-bundle-digest");
                Ok(digest.and_then(|d| d.to_str().ok()).map(str::to_owned))
            }
            status => self.read(status, b"").map(|_| None),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Value, ClientError> {
        let response = self.answer(method, path, query, body).await?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|e| self.not_answered(e))?;
        self.read(status, &bytes)
    }

    async fn answer(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<reqwest::Response, ClientError> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let mut request = self.http.request(method, url);
        if let Some((content_type, body)) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            request = request.body(body);
        }
        let response = request.headers(headers).send().await;
        response.map_err(|e| self.not_answered(e))
    }

    fn not_answered(&self, error: reqwest::Error) -> ClientError {
        let server = self.server.clone();
        if error.is_timeout() {
            return ClientError::TimedOut { server };
        }
        ClientError::Unreachable {
            server,
            cause: with_causes(&error.without_url()),
        }
    }

    fn read(&self, status: StatusCode, bytes: &[u8]) -> Result<Value, ClientError> {
        if status.is_success() && bytes.is_empty() {
            return Ok(Value::Null);
        }
        let parsed = serde_json::from_slice::<Value>(bytes);
        if status.is_success() {
            return parsed.map_err(|e| ClientError::Unreadable {
                server: self.server.clone(),
                cause: e.to_string(),
            });
        }
        let document = parsed.unwrap_or(Value::Null);
        let mut problem: Problem = serde_json::from_value(document.clone()).unwrap_or_default();
        problem.status = status.as_u16();
        problem.document = document;
        if problem.title.is_empty() {
            problem.title = status.canonical_reason().unwrap_or("refused").to_owned();
        }
        Err(ClientError::Refused(Box::new(problem)))
    }
}

/// Is this address on the machine we run on?
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::BadServer { server, cause } => {
                Failure::new(format!("`{server}` is not a control plane's address: {cause}"))
                    .help("give one such as `--server http://127.0.0.1:8081`, or set MERCATOR_SERVER")
            }
            ClientError::NoToken { path, cause } => Failure::new(format!(
                "there is no token in `{}`: {cause}",
                path.display()
            ))
            .help(
                "run this where `mercator run` keeps its data (it writes data/admin.token at its first start),\n\
                 or give `--token-file FILE`, or set MERCATOR_TOKEN",
            ),
            ClientError::BadToken => Failure::new("the token is empty or holds characters no token has")
                .help("tokens look like `mjt_…`; look for line breaks or quotes"),
            ClientError::Unreachable { server, cause } => {
                Failure::new(format!("no control plane answers at {server}: {cause}"))
                    .help("start one with `mercator run`, or name another with `--server URL`")
            }
            ClientError::TimedOut { server } => {
                Failure::new(format!("the control plane at {server} did not answer in time"))
                    .help(format!("ask it how it is: `curl {server}readyz?verbose`"))
            }
            ClientError::Unreadable { server, cause } => Failure::new(format!(
                "what answers at {server} does not speak like a control plane: {cause}"
            ))
            .help("`--server` takes the admin address (8081), not the traffic one (8080)"),
            ClientError::Refused(problem) => refused(&problem),
        }
    }
}

fn refused(problem: &Problem) -> Failure {
    let said = match problem.detail.is_empty() {
        true => &problem.title,
        false => &problem.detail,
    };
    let mut message = format!("{} ({}", crate::output::plain(said), problem.status);
    if !problem.code.is_empty() {
        message.push_str(&format!(" {}", crate::output::plain(&problem.code)));
    }
    message.push(')');
    let failure = match answer_of(problem.status) {
        Answer::No => Failure::no(message),
        Answer::Yes | Answer::CouldNotTell => Failure::new(message),
    };
    match problem.status {
        401 => failure.help(
            "the control plane does not know this token: is it of this instance, and not revoked?",
        ),
        403 => failure
            .help("this token's role does not cover that; `mercator token list` shows the roles"),
        500..=599 if !problem.request_id.is_empty() => failure.help(format!(
            "its log says more under request `{}`",
            crate::output::plain(&problem.request_id)
        )),
        _ => failure,
    }
}

/// "Not there", "invalid" and "in conflict" answer the question; being turned
/// away, or a server in trouble, does not.
fn answer_of(status: u16) -> Answer {
    match status {
        400 | 404 | 409 | 410 | 412 | 413 | 415 | 422 => Answer::No,
        _ => Answer::CouldNotTell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new("http://127.0.0.1:1/base", Some(&Token("mjt_x".into()))).unwrap()
    }

    fn refusal(status: u16, body: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        client().read(status, body.as_bytes()).unwrap_err().into()
    }

    #[test]
    fn problem_is_told_by_detail_status_and_code() {
        let failure = refusal(
            404,
            r#"{"type":"about:blank","title":"Not Found","status":404,"code":"unknown_policy","detail":"there is no policy `a`"}"#,
        );
        assert_eq!(
            failure.to_string(),
            "error: there is no policy `a` (404 unknown_policy)"
        );
        assert_eq!(failure.answer(), Answer::No);
    }

    #[test]
    fn refusal_without_a_problem_document_is_still_told() {
        let failure = refusal(502, "<html>");
        assert_eq!(failure.to_string(), "error: Bad Gateway (502)");
        assert_eq!(failure.answer(), Answer::CouldNotTell);
    }

    #[test]
    fn being_turned_away_is_not_an_answer() {
        for status in [401, 403, 429, 500, 503] {
            assert_eq!(
                refusal(status, "{}").answer(),
                Answer::CouldNotTell,
                "{status}"
            );
        }
    }

    #[test]
    fn token_is_not_shown() {
        assert!(!format!("{:?}", client()).contains("mjt_x"));
        assert!(!format!("{:?}", Token("mjt_x".into())).contains("mjt_x"));
    }

    #[test]
    fn addresses_that_cannot_be_are_refused_at_once() {
        for server in ["", "127.0.0.1:8081", "ftp://a", "http://"] {
            assert!(
                matches!(
                    Client::new(server, None),
                    Err(ClientError::BadServer { .. })
                ),
                "{server}"
            );
        }
    }
}
