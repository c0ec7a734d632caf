//! What handlers take out of requests: who asks, and bodies and parameters of
//! the right form.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

use super::error::ApiError;
use crate::app::App;
use crate::auth::{self, Permission, Principal};
use crate::health::PROBE_TIMEOUT;
use crate::publish::Expected;

/// Lets in who sends a token that has the permission.
async fn admit(parts: &Parts, app: &App, needed: Permission) -> Result<Principal, ApiError> {
    let header = parts.headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    let principal = auth::authenticate(&*app.store, header).await?;
    match principal.role.may(needed) {
        true => Ok(principal),
        false => {
            let role = principal.role.as_str();
            let detail = format!("a token of the role `{role}` may not do this");
            Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
    }
}

/// Whether the request brings a token that has the permission. A store that
/// cannot say is a no.
pub(super) async fn is_admitted(headers: &HeaderMap, app: &App, needed: Permission) -> bool {
    let header = headers.get(header::AUTHORIZATION);
    let header = header.and_then(|value| value.to_str().ok());
    if header.is_none() {
        return false;
    }
    let authenticated = auth::authenticate(&*app.store, header);
    let authenticated = tokio::time::timeout(PROBE_TIMEOUT, authenticated).await;
    matches!(authenticated, Ok(Ok(principal)) if principal.role.may(needed))
}

/// Who asks, let in because the token's role has the permission `N`.
pub(super) struct Caller<N> {
    pub(super) principal: Principal,
    needs: PhantomData<N>,
}

/// A permission as a type.
pub(super) trait Needs {
    const PERMISSION: Permission;
}

impl<N: Needs> FromRequestParts<App> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = admit(parts, app, N::PERMISSION).await?;
        Ok(Caller {
            principal,
            needs: PhantomData,
        })
    }
}

/// One extractor for each permission, so that a handler cannot forget to ask.
macro_rules! callers {
    ($($(#[$doc:meta])* $caller:ident needs $permission:ident,)*) => {$(
        pub(super) enum $permission {}

        impl Needs for $permission {
            const PERMISSION: Permission = Permission::$permission;
        }

        $(#[$doc])*
        pub(super) type $caller = Caller<$permission>;
    )*};
}

callers! {
    /// May read policies.
    PolicyReader needs ReadPolicies,
    /// May write, delete and validate policies.
    PolicyWriter needs WritePolicies,
    /// May fetch bundles.
    BundleReader needs ReadBundles,
    /// May read evidence.
    EvidenceReader needs ReadEvidence,
    /// May deliver evidence.
    EvidenceWriter needs WriteEvidence,
    /// May ask for an Envoy's configuration.
    ConfigurationReader needs ReadConfiguration,
    /// May make and revoke tokens.
    TokenManager needs ManageTokens,
    /// May erase subjects and hold evidence.
    EvidenceManager needs ManageEvidence,
    /// May drain the instance.
    InstanceManager needs ManageInstance,
    /// May read the description of the API.
    ApiReader needs ReadApi,
}

/// Query parameters; the frame has refused unknown names already.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Parameters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let query: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, app).await;
        query
            .map(|Query(parameters)| Parameters(parameters))
            .map_err(|_| ApiError::bad_request("bad_query", "the query cannot be read"))
    }
}

/// A body of JSON.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        const TYPES: &[&str] = &["application/json"];
        let bytes = body_of(request, app, TYPES).await?;
        serde_json::from_slice(&bytes)
            .map(JsonBody)
            .map_err(|error| {
                let (line, column) = (error.line(), error.column());
                let detail = match error.classify() {
                    serde_json::error::Category::Data => "the body is JSON, but not of this form",
                    _ => "the body is not JSON",
                };
                let detail = format!("{detail} (line {line}, column {column})");
                ApiError::bad_request("bad_json", detail)
            })
    }
}

/// The text of a policy; YAML includes JSON.
pub(super) struct PolicyText(pub(super) String);

impl FromRequest<App> for PolicyText {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = body_of(request, app, POLICY_TYPES).await?;
        match String::from_utf8(bytes.into()) {
            Ok(text) => Ok(PolicyText(text)),
            Err(_) => Err(ApiError::bad_request("not_utf8", "the policy is not UTF-8")),
        }
    }
}

const POLICY_TYPES: &[&str] = &[
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "application/json",
];

/// Lines of evidence.
pub(super) struct Lines(pub(super) Bytes);

impl FromRequest<App> for Lines {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        const TYPES: &[&str] = &["application/x-ndjson", "application/ndjson"];
        body_of(request, app, TYPES).await.map(Lines)
    }
}

async fn body_of(request: Request, app: &App, types: &[&str]) -> Result<Bytes, ApiError> {
    let refused = |detail| {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(ApiError::new(status, "unsupported_media_type", detail))
    };
    let headers = request.headers();
    let encoding = text_of(headers, header::CONTENT_ENCODING).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        return refused("the body must not be compressed".to_owned());
    }
    let media_type = text_of(headers, header::CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !types
        .iter()
        .any(|known| known.eq_ignore_ascii_case(media_type))
    {
        return refused(format!("the body must be {}", types.join(" or ")));
    }
    let bytes: Result<Bytes, BytesRejection> = Bytes::from_request(request, app).await;
    bytes.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = "the body is too large";
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
        }
        _ => ApiError::bad_request("bad_body", "the body did not arrive in full"),
    })
}

pub(super) fn text_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// `If-Match` and `If-None-Match` of a change.
pub(super) struct Precondition(pub(super) Expected);

impl FromRequestParts<App> for Precondition {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let wrong = |detail| Err(ApiError::bad_request("bad_precondition", detail));
        let present = |name| parts.headers.contains_key(name);
        let if_match = text_of(&parts.headers, header::IF_MATCH);
        let if_none_match = text_of(&parts.headers, header::IF_NONE_MATCH);
        match (if_match, if_none_match) {
            (Some(_), Some(_)) => wrong("give `If-Match` or `If-None-Match`, not both"),
            (Some("*"), None) => Ok(Precondition(Expected::AnyRevision)),
            (Some(tag), None) => match revision(tag) {
                Some(revision) => Ok(Precondition(Expected::Revision(revision))),
                None => wrong("`If-Match` must be one ETag of this policy, or `*`"),
            },
            (None, Some("*")) => Ok(Precondition(Expected::Nothing)),
            (None, Some(_)) => wrong("`If-None-Match` of a change must be `*`"),
            // A condition that cannot be read must not count as none.
            (None, None) if present(header::IF_MATCH) || present(header::IF_NONE_MATCH) => {
                wrong("the precondition cannot be read")
            }
            (None, None) => Ok(Precondition(Expected::Anything)),
        }
    }
}

fn revision(tag: &str) -> Option<u64> {
    tag.trim()
        .strip_prefix('"')?
        .strip_suffix('"')?
        .parse()
        .ok()
}

/// Whether the client has the version of this ETag.
pub(super) fn has_version(headers: &HeaderMap, etag: &str) -> bool {
    let Some(tags) = text_of(headers, header::IF_NONE_MATCH) else {
        return false;
    };
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    tags.trim() == "*" || tags.split(',').any(|tag| weak(tag) == etag)
}
