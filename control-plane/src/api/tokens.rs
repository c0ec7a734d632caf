//! Tokens: who may use this API, as what.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{JsonBody, TokenManager};
use crate::app::App;
use crate::auth::{self, CreateTokenError, Role};
use crate::store::TokenInfo;

/// A token without its text.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenView {
    id: String,
    name: String,
    role: &'static str,
    created_at: String,
    created_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl From<TokenInfo> for TokenView {
    fn from(token: TokenInfo) -> TokenView {
        TokenView {
            id: token.id.to_string(),
            name: token.name,
            role: token.role.as_str(),
            created_at: format!("{:.6}", token.created_at),
            created_by: token.created_by,
            revoked_at: token.revoked_at.map(|at| format!("{at:.6}")),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    tokens: Vec<TokenView>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTokenRequest {
    /// Whose it is or what it is for; changes are recorded under it.
    name: String,
    /// `admin`, `author`, `auditor` or `emitter`.
    role: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NewTokenView {
    #[serde(flatten)]
    info: TokenView,
    /// The token itself, this once.
    token: String,
}

/// All tokens, revoked ones too, never their text.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", security(("bearer" = [])),
    responses((status = 200, body = TokenList)))]
pub(super) async fn list(
    State(app): State<App>,
    _: TokenManager,
) -> Result<Json<TokenList>, ApiError> {
    let tokens = app.store.tokens().await?;
    Ok(Json(TokenList {
        tokens: tokens.into_iter().map(TokenView::from).collect(),
    }))
}

/// Makes a token.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", security(("bearer" = [])),
    request_body = NewTokenRequest, responses((status = 201, body = NewTokenView)))]
pub(super) async fn create(
    State(app): State<App>,
    creator: TokenManager,
    JsonBody(request): JsonBody<NewTokenRequest>,
) -> Result<(StatusCode, Json<NewTokenView>), ApiError> {
    let invalid = |detail: &str| {
        Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid_token_request",
            detail,
        ))
    };
    let name = request.name.trim();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return invalid("`name` must have 1 to 64 characters that can be printed");
    }
    let Some(role) = Role::parse(&request.role) else {
        return invalid("`role` must be `admin`, `author`, `auditor` or `emitter`");
    };
    let now = app.clock.now();
    let (info, text) = auth::create_token(&*app.store, &creator.principal, name, role, now).await?;
    let view = NewTokenView {
        info: info.into(),
        token: text.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(view)))
}

/// Revokes a token for good; it opens nothing from now on.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens", security(("bearer" = [])),
    params(("id" = String, Path, description = "Id of the token")),
    responses((status = 204, description = "It is revoked")))]
pub(super) async fn revoke(
    State(app): State<App>,
    _: TokenManager,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let unknown = || ApiError::not_found("unknown_token", "there is no token of this id");
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    match app.store.revoke_token(id, app.clock.now()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(unknown()),
    }
}

impl From<CreateTokenError> for ApiError {
    fn from(error: CreateTokenError) -> ApiError {
        match error {
            CreateTokenError::NoRandomness(_) => ApiError::internal(&error),
            CreateTokenError::Store(error) => error.into(),
        }
    }
}
