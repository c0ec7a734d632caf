//! The section `subject`: how the filter learns who asks.

use std::path::PathBuf;

use jupiter_filter::subject::{ClaimNames, Network};

use super::reader::{Document, Section};
use super::values::{self, BaseUrl};

/// By verified token, by a header of trusted peers, else by API key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectConfig {
    pub jwt: Option<JwtConfig>,
    pub header: Option<HeaderConfig>,
}

/// Tokens that Envoy verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtConfig {
    pub issuer: String,
    /// One of them must be among the token's own; none: any will do.
    pub audiences: Vec<String>,
    pub keys: JwtKeys,
    /// The header that carries the token; `authorization` after `Bearer `.
    pub header: String,
    pub required: bool,
    /// Leave the token in the request to the provider.
    pub forward: bool,
    pub claims: ClaimNames,
}

/// Where the issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    File(PathBuf),
    Url(BaseUrl),
}

/// A header that trusted peers set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderConfig {
    pub name: String,
    pub trusted: Vec<Network>,
}

pub(super) fn read(document: &mut Document<'_>, root: &mut Section) -> Option<SubjectConfig> {
    let mut section = document.section(root, "subject");
    let jwt = read_jwt(document, &mut section);
    let header = read_header(document, &mut section);
    document.finish(&section);
    Some(SubjectConfig {
        jwt: jwt?,
        header: header?,
    })
}

fn read_jwt(document: &mut Document<'_>, parent: &mut Section) -> Option<Option<JwtConfig>> {
    let mut s = document.section(parent, "jwt");
    let issuer = document.value(&mut s, "issuer", "", plain);
    let audiences = document.value(&mut s, "audiences", "", words);
    let file = document.value(&mut s, "jwks_file", "", plain);
    let url = document.value(&mut s, "jwks_uri", "", optional_url);
    let header = document.value(&mut s, "header", "authorization", header_name);
    let required = document.value(&mut s, "required", "true", values::boolean);
    let forward = document.value(&mut s, "forward", "false", values::boolean);
    let claims = read_claims(document, &mut s);
    document.finish(&s);
    let (issuer, file, url) = (issuer?, file?, url?);
    if issuer.is_empty() {
        if !file.is_empty() || url.is_some() {
            let message = "keys are of no use without the `issuer` whose tokens they sign";
            document.fault(&s, "issuer", message.to_owned());
            return None;
        }
        return Some(None);
    }
    let keys = match (file.is_empty(), url) {
        (false, None) => JwtKeys::File(PathBuf::from(file)),
        (true, Some(url)) => JwtKeys::Url(url),
        _ => {
            let message = "name the issuer's keys by either `jwks_file` or `jwks_uri`";
            document.fault(&s, "jwks_file", message.to_owned());
            return None;
        }
    };
    Some(Some(JwtConfig {
        issuer,
        audiences: audiences?,
        keys,
        header: header?,
        required: required?,
        forward: forward?,
        claims: claims?,
    }))
}

fn read_claims(document: &mut Document<'_>, parent: &mut Section) -> Option<ClaimNames> {
    let mut s = document.section(parent, "claims");
    let user_id = document.value(&mut s, "user_id", "sub", plain);
    let tier = document.value(&mut s, "tier", "", plain);
    let department = document.value(&mut s, "department", "", plain);
    let roles = document.value(&mut s, "roles", "", plain);
    let region = document.value(&mut s, "region", "", plain);
    document.finish(&s);
    Some(ClaimNames {
        user_id: user_id?,
        tier: tier?,
        department: department?,
        roles: roles?,
        region: region?,
    })
}

fn read_header(document: &mut Document<'_>, parent: &mut Section) -> Option<Option<HeaderConfig>> {
    let mut s = document.section(parent, "header");
    let name = document.value(&mut s, "name", "", |text| match text {
        "" => Ok(String::new()),
        name => header_name(name),
    });
    let trusted = document.value(&mut s, "trusted", "", networks);
    document.finish(&s);
    let (name, trusted) = (name?, trusted?);
    if name.is_empty() != trusted.is_empty() {
        let message = "a header names the subject only with both `name` and `trusted` peers";
        document.fault(&s, "trusted", message.to_owned());
        return None;
    }
    Some((!name.is_empty()).then_some(HeaderConfig { name, trusted }))
}

fn plain(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

/// Words between commas or blanks.
fn words(text: &str) -> Result<Vec<String>, String> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    Ok(words.map(str::to_owned).collect())
}

fn networks(text: &str) -> Result<Vec<Network>, String> {
    words(text)?.into_iter().map(Network::try_from).collect()
}

fn optional_url(text: &str) -> Result<Option<BaseUrl>, String> {
    match text {
        "" => Ok(None),
        text => BaseUrl::parse(text).map(Some),
    }
}

/// In small letters, as HTTP/2 has it.
fn header_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    match !text.is_empty() && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is not a header's name in small letters, such as `x-user-id`"
        )),
    }
}
