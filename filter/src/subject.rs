//! Who asks.
//!
//! In this order: the claims of a JWT that Envoy's `jwt_authn` filter verified
//! before ours, a header that a trusted peer set, the digest of the API key.
//! The key itself is kept nowhere; a token is never read here, only what Envoy
//! says of it. A token that was shown and not accepted refuses the request,
//! whatever else it shows.

use crate::inspector::RequestHead;
use jupiter_evidence::hex;
use jupiter_policy::facts::UserAttributes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;

/// How subjects are told; without any of it, by their API keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SubjectConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderConfig>,
}

impl SubjectConfig {
    pub fn is_empty(&self) -> bool {
        *self == SubjectConfig::default()
    }
}

/// What is taken from a JWT that Envoy verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Refuse requests without a token.
    pub required: bool,
    pub claims: ClaimNames,
}

/// The claim that gives each attribute, nested ones by dots; empty: none does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimNames {
    pub user_id: String,
    pub tier: String,
    pub department: String,
    pub roles: String,
    pub region: String,
}

/// A header that names the subject when certain peers set it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderConfig {
    /// In small letters.
    pub name: String,
    pub trusted: Vec<Network>,
}

/// A block of addresses, `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// What Envoy says of the token of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Token {
    /// There is none, or none is looked for.
    #[default]
    Missing,
    /// Not accepted, in Envoy's words.
    Rejected(String),
    Verified(Claims),
}

/// Claims of a verified token, as far as they are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    pub user_id: Option<String>,
    pub tier: Option<String>,
    pub department: Option<String>,
    pub roles: Option<Vec<String>>,
    pub region: Option<String>,
}

/// Who asks, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Subject {
    /// With the way it is known: `jwt:`, `header:` or `key:`.
    pub id: Option<String>,
    /// `context.user_attributes.user_id` of policies.
    pub user_id: Option<String>,
    pub attributes: UserAttributes,
}

/// Why a request may not go on without a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unidentified {
    TokenMissing,
    TokenRejected(String),
}

impl Unidentified {
    /// Stable code for clients, records and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Unidentified::TokenMissing => "token_required",
            Unidentified::TokenRejected(_) => "token_rejected",
        }
    }
}

impl fmt::Display for Unidentified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unidentified::TokenMissing => {
                f.write_str("a token of your identity provider is required")
            }
            Unidentified::TokenRejected(why) => write!(f, "the token was not accepted: {why}"),
        }
    }
}

/// Longest name that a token or a header may give.
const MAX_NAME: usize = 256;

/// Finds out who asks.
pub fn identify(config: &SubjectConfig, head: &RequestHead) -> Result<Subject, Unidentified> {
    if let Some(jwt) = &config.jwt {
        match &head.token {
            Token::Rejected(why) => return Err(Unidentified::TokenRejected(why.clone())),
            Token::Missing if jwt.required => return Err(Unidentified::TokenMissing),
            Token::Missing => {}
            Token::Verified(claims) => return Ok(by_claims(claims)),
        }
    }
    if let Some(header) = &config.header
        && let Some(name) = head
            .subject_header
            .as_deref()
            .filter(|name| !name.is_empty())
        && let Some(peer) = head.client_ip.as_deref().and_then(|ip| ip.parse().ok())
        && header.trusted.iter().any(|network| network.contains(peer))
    {
        return Ok(Subject::named("header", clip(name)));
    }
    Ok(match key_digest(head) {
        Some(digest) => Subject::named_by_digest(digest),
        None => Subject::default(),
    })
}

fn by_claims(claims: &Claims) -> Subject {
    let clipped = |text: &Option<String>| text.as_deref().map(clip);
    let named = claims
        .user_id
        .as_deref()
        .map(|name| Subject::named("jwt", clip(name)));
    Subject {
        attributes: UserAttributes {
            tier: clipped(&claims.tier),
            department: clipped(&claims.department),
            roles: claims.roles.clone(),
            region: clipped(&claims.region),
            ..UserAttributes::default()
        },
        ..named.unwrap_or_default()
    }
}

impl Subject {
    fn named(kind: &str, name: String) -> Subject {
        Subject {
            id: Some(format!("{kind}:{name}")),
            user_id: Some(name),
            attributes: UserAttributes::default(),
        }
    }

    /// An API key has no name: its digest stands for it in policies too.
    fn named_by_digest(digest: String) -> Subject {
        Subject {
            id: Some(digest.clone()),
            user_id: Some(digest),
            attributes: UserAttributes::default(),
        }
    }
}

/// The API key's digest: enough to tell callers apart, useless to log in with.
fn key_digest(head: &RequestHead) -> Option<String> {
    let bearer = head.authorization.as_deref().map(|value| {
        let (scheme, token) = value.split_once(' ').unwrap_or(("", value));
        if scheme.eq_ignore_ascii_case("bearer") {
            token.trim()
        } else {
            value
        }
    });
    let key = head
        .x_api_key
        .as_deref()
        .or(bearer)
        .filter(|key| !key.is_empty())?;
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let (start, _) = digest.split_first_chunk::<8>()?;
    Some(format!("key:{}", hex(start)))
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

impl Network {
    pub fn contains(self, address: IpAddr) -> bool {
        let (network, address, width) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let differing = network ^ address;
        differing
            .checked_shr(width - u32::from(self.bits))
            .unwrap_or(0)
            == 0
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Network, String> {
        let wrong = || format!("`{text}` is not an address or a block such as `10.0.0.0/8`");
        let (address, bits) = text.split_once('/').unwrap_or((&text, ""));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            "" if !text.contains('/') => width,
            bits => bits.parse().map_err(|_| wrong())?,
        };
        match bits <= width {
            true => Ok(Network { address, bits }),
            false => Err(wrong()),
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        format!("{}/{}", network.address, network.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::try_from(text.to_owned()).unwrap()
    }

    fn config(required: bool) -> SubjectConfig {
        let name = str::to_owned;
        SubjectConfig {
            jwt: Some(JwtConfig {
                required,
                claims: ClaimNames {
                    user_id: name("sub"),
                    tier: name(""),
                    department: name("department"),
                    roles: name("roles"),
                    region: name(""),
                },
            }),
            header: Some(HeaderConfig {
                name: name("x-user"),
                trusted: vec![network("10.0.0.0/8"), network("::1")],
            }),
        }
    }

    fn head(token: Token, header: Option<&str>, ip: &str, key: Option<&str>) -> RequestHead {
        RequestHead {
            token,
            subject_header: header.map(str::to_owned),
            client_ip: Some(ip.to_owned()),
            authorization: key.map(|key| format!("Bearer {key}")),
            ..RequestHead::default()
        }
    }

    fn id(config: &SubjectConfig, head: &RequestHead) -> Result<Option<String>, Unidentified> {
        identify(config, head).map(|subject| subject.id)
    }

    #[test]
    fn verified_token_comes_first_then_trusted_header_then_key() {
        let claims = Claims {
            user_id: Some("ada".to_owned()),
            department: Some("research".to_owned()),
            roles: Some(vec!["author".to_owned()]),
            ..Claims::default()
        };
        let all = head(
            Token::Verified(claims),
            Some("bob"),
            "10.1.2.3",
            Some("sk-1"),
        );
        let subject = identify(&config(false), &all).unwrap();
        assert_eq!(subject.id.as_deref(), Some("jwt:ada"));
        assert_eq!(subject.user_id.as_deref(), Some("ada"));
        assert_eq!(subject.attributes.department.as_deref(), Some("research"));
        assert_eq!(subject.attributes.roles, Some(vec!["author".to_owned()]));

        let header = head(Token::Missing, Some("bob"), "10.1.2.3", Some("sk-1"));
        assert_eq!(
            id(&config(false), &header),
            Ok(Some("header:bob".to_owned()))
        );
        let key = head(Token::Missing, None, "10.1.2.3", Some("sk-1"));
        let by_key = id(&config(false), &key).unwrap().unwrap();
        assert!(
            by_key.starts_with("key:") && !by_key.contains("sk-1"),
            "{by_key}"
        );
        let nobody = head(Token::Missing, None, "10.1.2.3", None);
        assert_eq!(id(&config(false), &nobody), Ok(None));
    }

    #[test]
    fn header_of_an_untrusted_peer_names_nobody() {
        for ip in ["11.0.0.1", "192.168.0.1", "::2", "not an address"] {
            let spoofed = head(Token::Missing, Some("bob"), ip, None);
            assert_eq!(id(&config(false), &spoofed), Ok(None), "{ip}");
        }
    }

    #[test]
    fn missing_or_rejected_token_refuses_where_one_is_due() {
        let missing = head(Token::Missing, Some("bob"), "10.1.2.3", Some("sk-1"));
        assert_eq!(id(&config(true), &missing), Err(Unidentified::TokenMissing));
        let why = "Jwt is expired".to_owned();
        let rejected = head(Token::Rejected(why.clone()), Some("bob"), "10.1.2.3", None);
        for required in [true, false] {
            let refused = Err(Unidentified::TokenRejected(why.clone()));
            assert_eq!(id(&config(required), &rejected), refused);
        }
    }

    #[test]
    fn subject_is_a_digest_and_never_the_key() {
        let head = |authorization: Option<&str>, x_api_key: Option<&str>| RequestHead {
            authorization: authorization.map(str::to_owned),
            x_api_key: x_api_key.map(str::to_owned),
            ..RequestHead::default()
        };
        let by_bearer = key_digest(&head(Some("Bearer sk-test"), None));
        assert_eq!(by_bearer, key_digest(&head(None, Some("sk-test"))));
        assert_eq!(by_bearer.as_ref().map(String::len), Some("key:".len() + 16));
        assert!(!by_bearer.unwrap_or_default().contains("sk-test"));
        assert_eq!(key_digest(&head(None, None)), None);
    }

    #[test]
    fn networks_hold_their_own_addresses_alone() {
        for (block, address, inside) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::/0", "::1", true),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(
                network(block).contains(address),
                inside,
                "{block} {address}"
            );
        }
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "::1/129",
            "ten",
            "10.0.0.0/-1",
        ] {
            assert!(Network::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
