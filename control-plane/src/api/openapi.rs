//! The API's description of itself, made from the handlers.

use axum::Extension;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::error::Problem;
use super::extract::ApiReader;

/// The description as it is sent.
#[derive(Debug)]
pub(super) struct ApiDocument(String);

impl ApiDocument {
    /// Adds to every operation what is the same for all: how it is refused.
    pub(super) fn new(mut api: OpenApi) -> ApiDocument {
        let problem = Problem::name();
        let schema = Ref::from_schema_name(problem.clone());
        let refusal = ResponseBuilder::new()
            .description("Refused")
            .content(
                "application/problem+json",
                ContentBuilder::new().schema(Some(schema)).build(),
            )
            .build();
        for item in api.paths.paths.values_mut() {
            let operations = [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
            ];
            for operation in operations.into_iter().flatten() {
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), refusal.clone().into());
            }
        }
        let components = api.components.get_or_insert_with(Components::new);
        components
            .schemas
            .insert(problem.into_owned(), Problem::schema());
        // Plain data always serialises; an empty document would be no secret.
        ApiDocument(api.to_json().unwrap_or_default())
    }
}

/// What the routes are added to.
pub(super) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Mercator Jupiter admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Policies, bundles, evidence and tokens of an instance. Refusals are \
             `application/problem+json` with a stable `code`.",
        ))
        .build();
    let mut components = Components::new();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mjt_…")
        .build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// This description.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "api", security(("bearer" = [])),
    responses((status = 200, body = serde_json::Value)))]
pub(super) async fn document(
    _: ApiReader,
    Extension(document): Extension<Arc<ApiDocument>>,
) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], document.0.clone()).into_response()
}
