//! What a benchmark sends, to whom, and when.
//!
//! Everything about a request but its number is settled before the clock
//! starts: the bytes are built once and shared. Which requests the policy should
//! refuse, and when each is due, follow from their numbers alone, so that two
//! runs of one plan send the same.

use crate::exit::Failure;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

const FILLER: &str = "The quick brown fox jumps over the lazy dog. ";
/// The key of a client whose real key the gateway puts in its place.
const CLIENT_KEY: &str = "mercator-benchmark";

/// Which API requests are made in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ApiArg {
    Openai,
    Anthropic,
}

impl ApiArg {
    pub fn name(self) -> &'static str {
        match self {
            ApiArg::Openai => "openai",
            ApiArg::Anthropic => "anthropic",
        }
    }

    fn path(self) -> &'static str {
        match self {
            ApiArg::Openai => "/v1/chat/completions",
            ApiArg::Anthropic => "/v1/messages",
        }
    }

    pub fn default_model(self) -> &'static str {
        match self {
            ApiArg::Openai => "gpt-4o-mini",
            ApiArg::Anthropic => "claude-sonnet-4-5",
        }
    }
}

/// A part of a whole: `0.25` or `25%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text, 1.0),
        };
        let share = number.parse::<f64>().map(|number| number / scale);
        match share {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Share(share)),
            _ => Err("write a share from 0 to 1, or 0% to 100%".to_owned()),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub secure: bool,
    /// As it is looked up and checked against the certificate: no brackets.
    pub host: String,
    pub port: u16,
    authority: String,
    /// `None`: that of the API.
    path: Option<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let url = Url::parse(text).map_err(|e| e.to_string())?;
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("not an http or https URL".to_owned()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a key does not belong into the URL: use --api-key-env".to_owned());
        }
        let host = match url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(ip)) => ip.to_string(),
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            None => return Err("no host in it".to_owned()),
        };
        let path = match url.path() {
            "" | "/" | "/v1" | "/v1/" => None,
            path => Some(match url.query() {
                Some(query) => format!("{path}?{query}"),
                None => path.to_owned(),
            }),
        };
        Ok(Target {
            secure,
            host,
            port: url.port_or_known_default().unwrap_or(80),
            authority: url.authority().to_owned(),
            path,
        })
    }
}

impl Target {
    fn path(&self, api: ApiArg) -> &str {
        self.path.as_deref().unwrap_or(api.path())
    }

    /// With the path, for people and results.
    pub fn url(&self, api: ApiArg) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path(api))
    }
}

/// What requests look like.
#[derive(Debug, Clone)]
pub struct Ask {
    pub api: ApiArg,
    pub model: String,
    pub stream: bool,
    pub prompt_bytes: usize,
    pub max_tokens: u32,
    /// Begins the prompts that the policy should refuse.
    pub refused_prompt: String,
    pub api_key: Option<String>,
    pub headers: Vec<Header>,
}

/// `Name: value`, as given on the command line.
#[derive(Debug, Clone)]
pub struct Header(HeaderName, HeaderValue);

impl FromStr for Header {
    type Err = String;

    fn from_str(text: &str) -> Result<Header, String> {
        let wrong = || "write a header as `Name: value`".to_owned();
        let (name, value) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok(Header(name, value))
    }
}

/// Everything that is settled before the clock starts.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub api: ApiArg,
    pub model: String,
    pub stream: bool,
    pub prompt_bytes: usize,
    /// Requests a second; `None`: as many as `concurrency` allows.
    pub rate: Option<f64>,
    pub duration: Duration,
    pub concurrency: usize,
    /// Of an answer, from the sending; and of the wait for a connection.
    pub timeout: Duration,
    /// Share of requests that the policy should refuse.
    pub policy_mix: Share,
    pub idempotency_keys: bool,
    /// Keep the decision ids of answers, to look for their records.
    pub keep_decision_ids: bool,
    uri: Uri,
    headers: HeaderMap,
    ordinary: Bytes,
    refused: Bytes,
}

/// How much, how fast, how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub rate: Option<f64>,
    pub duration: Duration,
    pub concurrency: usize,
    pub timeout: Duration,
    pub policy_mix: Share,
    pub idempotency_keys: bool,
    pub keep_decision_ids: bool,
}

impl Plan {
    pub fn new(target: Target, ask: &Ask, pace: Pace) -> Result<Plan, Failure> {
        let path = target.path(ask.api);
        let uri: Uri = path
            .parse()
            .map_err(|_| Failure::new(format!("`{path}` cannot be the path of a request")))?;
        let mut prompt = ask.refused_prompt.clone();
        prompt.push(' ');
        let refused = body(ask, &fill(prompt, ask.prompt_bytes));
        Ok(Plan {
            headers: headers(&target, ask)?,
            ordinary: body(ask, &fill(String::new(), ask.prompt_bytes)),
            refused,
            uri,
            target,
            api: ask.api,
            model: ask.model.clone(),
            stream: ask.stream,
            prompt_bytes: ask.prompt_bytes,
            rate: pace.rate,
            duration: pace.duration,
            concurrency: pace.concurrency,
            timeout: pace.timeout,
            policy_mix: pace.policy_mix,
            idempotency_keys: pace.idempotency_keys,
            keep_decision_ids: pace.keep_decision_ids,
        })
    }

    /// How many requests there are to be; without a rate nobody knows.
    pub fn total(&self) -> Option<u64> {
        // Half a request more never rounds a whole number down.
        let count = |rate: f64| (rate * self.duration.as_secs_f64() + 1e-6).floor() as u64;
        self.rate.map(count)
    }

    /// When request `number` is due, from the start; at once without a rate.
    pub fn due(&self, number: u64) -> Duration {
        match self.rate {
            Some(rate) => Duration::from_secs_f64(number as f64 / rate),
            None => Duration::ZERO,
        }
    }

    /// Should the policy refuse request `number`? Spread evenly over the run.
    pub fn to_be_refused(&self, number: u64) -> bool {
        let before = |n: u64| (n as f64 * self.policy_mix.0 + 1e-9).floor();
        before(number + 1) > before(number)
    }

    pub fn request(&self, number: u64) -> Request<Full<Bytes>> {
        let body = match self.to_be_refused(number) {
            true => self.refused.clone(),
            false => self.ordinary.clone(),
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if self.idempotency_keys {
            let key = uuid::Uuid::now_v7().to_string();
            if let Ok(key) = HeaderValue::from_str(&key) {
                request.headers_mut().insert("idempotency-key", key);
            }
        }
        request
    }
}

fn fill(mut prompt: String, bytes: usize) -> String {
    let missing = bytes.saturating_sub(prompt.len());
    prompt.extend(FILLER.chars().cycle().take(missing));
    prompt
}

fn body(ask: &Ask, prompt: &str) -> Bytes {
    let limit = match ask.api {
        ApiArg::Openai => "max_completion_tokens",
        ApiArg::Anthropic => "max_tokens",
    };
    let mut body = json!({
        "model": ask.model,
        "messages": [{"role": "user", "content": prompt}],
        limit: ask.max_tokens,
    });
    if let (true, Value::Object(body)) = (ask.stream, &mut body) {
        body.insert("stream".to_owned(), Value::Bool(true));
    }
    body.to_string().into()
}

fn headers(target: &Target, ask: &Ask) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let of = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Failure::new("the key holds characters that no header may have"))
    };
    headers.insert(HOST, of(&target.authority)?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let key = ask.api_key.as_deref().unwrap_or(CLIENT_KEY).trim();
    let (name, mut value) = match ask.api {
        ApiArg::Openai => (AUTHORIZATION, of(&format!("Bearer {key}"))?),
        ApiArg::Anthropic => (HeaderName::from_static("x-api-key"), of(key)?),
    };
    value.set_sensitive(true);
    headers.insert(name, value);
    if ask.api == ApiArg::Anthropic {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    for Header(name, value) in &ask.headers {
        headers.insert(name.clone(), value.clone());
    }
    Ok(headers)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn ask() -> Ask {
        Ask {
            api: ApiArg::Openai,
            model: "gpt-4o-mini".to_owned(),
            stream: false,
            prompt_bytes: 64,
            max_tokens: 16,
            refused_prompt: "CONFIDENTIAL".to_owned(),
            api_key: None,
            headers: vec![],
        }
    }

    pub fn pace() -> Pace {
        Pace {
            rate: Some(100.0),
            duration: Duration::from_secs(1),
            concurrency: 10,
            timeout: Duration::from_secs(20),
            policy_mix: Share(0.0),
            idempotency_keys: false,
            keep_decision_ids: false,
        }
    }

    fn plan(rate: f64, seconds: u64, mix: f64) -> Plan {
        let pace = Pace {
            rate: Some(rate),
            duration: Duration::from_secs(seconds),
            policy_mix: Share(mix),
            ..pace()
        };
        Plan::new("http://a:1".parse().unwrap(), &ask(), pace).unwrap()
    }

    #[test]
    fn requests_are_as_many_as_rate_and_duration_say() {
        for (rate, seconds, count) in [(1000.0, 300, 300_000), (0.1, 60, 6), (333.3, 10, 3333)] {
            assert_eq!(plan(rate, seconds, 0.0).total(), Some(count));
        }
        assert_eq!(plan(1000.0, 1, 0.0).due(250), Duration::from_millis(250));
    }

    #[test]
    fn refused_requests_are_exactly_their_share_and_spread() {
        for (mix, in_thousand) in [(0.0, 0), (0.1, 100), (1.0 / 3.0, 333), (1.0, 1000)] {
            let plan = plan(1.0, 1, mix);
            let chosen = (0..1000).filter(|n| plan.to_be_refused(*n)).count();
            assert_eq!(chosen, in_thousand, "{mix}");
        }
        let tenth = plan(1.0, 1, 0.1);
        for start in [0, 10, 990] {
            let chosen = (start..start + 10).filter(|n| tenth.to_be_refused(*n));
            assert_eq!(chosen.count(), 1);
        }
    }

    #[test]
    fn target_takes_the_path_of_the_api_or_its_own() {
        let url = |text: &str, api| text.parse::<Target>().unwrap().url(api);
        for base in ["http://h", "http://h/", "http://h/v1", "http://h/v1/"] {
            assert_eq!(url(base, ApiArg::Openai), "http://h/v1/chat/completions");
            assert_eq!(url(base, ApiArg::Anthropic), "http://h/v1/messages");
        }
        assert_eq!(
            url("https://[::1]:9/x?y=1", ApiArg::Openai),
            "https://[::1]:9/x?y=1"
        );
        assert_eq!("http://[::1]:9".parse::<Target>().unwrap().host, "::1");
        for wrong in ["h:80", "ftp://h", "http://", "http://key@h"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn request_is_what_the_provider_expects() {
        let key = Some("sk-1".to_owned());
        let anthropic = Ask {
            api: ApiArg::Anthropic,
            stream: true,
            api_key: key,
            headers: vec!["X-Team: a".parse().unwrap()],
            ..ask()
        };
        let pace = Pace {
            policy_mix: Share(1.0),
            idempotency_keys: true,
            ..pace()
        };
        let plan = Plan::new("http://h:8".parse().unwrap(), &anthropic, pace).unwrap();
        let request = plan.request(0);
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header("x-api-key"), "sk-1");
        assert_eq!(header("x-team"), "a");
        assert_eq!(header("host"), "h:8");
        assert_ne!(
            plan.request(1).headers().get("idempotency-key").unwrap(),
            header("idempotency-key")
        );
        let body: Value = serde_json::from_slice(&plan.refused).unwrap();
        assert_eq!(body["stream"], true);
        assert_eq!(body["max_tokens"], 16);
        let prompt = body["messages"][0]["content"].as_str().unwrap();
        assert!(prompt.starts_with("CONFIDENTIAL The quick"));
        assert_eq!(prompt.len(), 64);
    }

    #[test]
    fn shares_are_read_both_ways() {
        assert_eq!("0.25".parse(), Ok(Share(0.25)));
        assert_eq!("25%".parse(), Ok(Share(0.25)));
        for wrong in ["", "1.1", "-0.1", "101%", "NaN", "a"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }
}
