//! What Envoy's `jwt_authn` filter, which stands before ours, says of a token.
//!
//! It writes the claims of a verified token and the reason of a rejection into
//! the dynamic metadata of the stream, under the keys that
//! `control-plane/src/envoy/jwt.rs` names. Clients cannot write there.

use super::abi;
use crate::subject::{Claims, JwtConfig, Token};

const METADATA: [&str; 3] = [
    "metadata",
    "filter_metadata",
    "envoy.filters.http.jwt_authn",
];
const PAYLOAD: &str = "payload";
const FAILURE: &str = "failure";

/// Envoy's words for a request that shows no token.
const MISSING: &str = "Jwt is missing";

pub(super) fn read(config: &JwtConfig) -> Token {
    // Envoy accepts no token of another issuer, so a verified one has this claim.
    if claim("iss").is_none() {
        return match text(&[FAILURE, "message"]) {
            Some(why) if why != MISSING => Token::Rejected(why),
            _ => Token::Missing,
        };
    }
    let names = &config.claims;
    let one = |name: &str| (!name.is_empty()).then(|| as_text(&claim(name)?)).flatten();
    Token::Verified(Claims {
        user_id: one(&names.user_id),
        tier: one(&names.tier),
        department: one(&names.department),
        roles: (!names.roles.is_empty())
            .then(|| as_texts(&claim(&names.roles)?))
            .flatten(),
        region: one(&names.region),
    })
}

fn property(path: &[&str]) -> Option<Vec<u8>> {
    abi::property(&[&METADATA[..], path].concat())
}

fn text(path: &[&str]) -> Option<String> {
    as_text(&property(path)?)
}

/// A claim by its name, nested ones by dots.
fn claim(name: &str) -> Option<Vec<u8>> {
    let path: Vec<&str> = std::iter::once(PAYLOAD).chain(name.split('.')).collect();
    property(&path)
}

fn as_text(bytes: &[u8]) -> Option<String> {
    // Numbers come as eight bytes, which are no name.
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

/// A list as the ABI writes it, or one text with its words between blanks, as in `scope`.
fn as_texts(bytes: &[u8]) -> Option<Vec<String>> {
    abi::list(bytes).or_else(|| {
        let text = as_text(bytes)?;
        Some(text.split_whitespace().map(str::to_owned).collect())
    })
}
