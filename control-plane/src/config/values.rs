//! Single configuration values: text in, checked types out.
//!
//! A message never repeats a value that may be secret; the others are quoted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A credential. Neither `Debug` nor anything else prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Secret {
        Secret(value)
    }

    /// The credential itself, for the one place that has to write it down.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a provider's API begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    /// `https`.
    pub tls: bool,
    /// Without brackets when it is an IPv6 address.
    pub host: String,
    pub port: u16,
    /// Begins with `/` and does not end in one; empty at the root.
    pub path: String,
}

impl BaseUrl {
    pub fn parse(text: &str) -> Result<BaseUrl, String> {
        // The text is not repeated: someone may have put credentials into it.
        let url = url::Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                return Err(format!(
                    "the scheme `{other}` is neither `https` nor `http`"
                ));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("credentials do not belong in a URL; use `api_key`".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("a base URL has no query and no fragment".to_owned());
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err("the URL names no host".to_owned()),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(BaseUrl {
            tls,
            host,
            port,
            path,
        })
    }

    /// The address, when the host is one rather than a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What the provider expects in `host`.
    pub fn authority(&self) -> String {
        let host = match self.ip() {
            Some(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// Names appear in files, cluster names, headers and metric labels.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(allowed) {
        return Err(format!(
            "`{text}` is not a name: 1 to 64 letters, digits, `-`, `_` or `.`"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("a path is expected".to_owned());
    }
    Ok(PathBuf::from(text))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is not an address and port such as `127.0.0.1:8081` or `[::1]:8081`")
    })
}

/// Empty: none.
pub(super) fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "" => Ok(None),
        text => address(text).map(Some),
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    choice(text, &[("true", true), ("false", false)])
}

pub(super) fn concurrency(text: &str) -> Result<u32, String> {
    // Each worker's VM reserves some 9 GB of address space: hundreds exhaust it.
    integer(text, 1, 128).map(|value| value as u32)
}

pub(super) fn capacity(text: &str) -> Result<usize, String> {
    integer(text, 1, 1_000_000).map(|value| value as usize)
}

pub(super) fn body_bytes(text: &str) -> Result<u64, String> {
    // The filter's memory is capped at link time; bodies beyond this could not be held twice.
    integer(text, 1_024, 16 * 1_048_576)
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    integer(text, 1, u64::from(u16::MAX)).map(|value| value as u16)
}

pub(super) fn integer(text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| format!("`{text}` is not a whole number from {least} to {most}"))
}

/// Empty means: none.
pub(super) fn optional<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| match text {
        "" => Ok(None),
        text => parse(text).map(Some),
    }
}

/// A whole number with its unit: `250ms`, `300s`, `5m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as `250ms`, `300s`, `5m` or `1h`");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let millis = number.checked_mul(millis).ok_or_else(wrong)?;
    if millis == 0 || millis > 7 * 24 * 3_600_000 {
        return Err(format!("`{text}` is not between `1ms` and `168h`"));
    }
    Ok(Duration::from_millis(millis))
}

/// Empty means: none.
pub(super) fn secret(text: &str) -> Result<Option<Secret>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
        return Err("a credential has only printable ASCII characters".to_owned());
    }
    Ok(Some(Secret(text.to_owned())))
}

/// The name of a log (C2SP `tlog-checkpoint`); empty means: none given.
pub(super) fn origin(text: &str) -> Result<Option<String>, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte);
    if !text.bytes().all(fits) || text.len() > 128 {
        return Err(format!(
            "`{text}` is not the name of a log, such as `logs.example.com/eu-west`"
        ));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        format!(
            "`{text}` is not known here; it is one of {}",
            names.join(", ")
        )
    })
}

/// The machine's name as far as it can serve as an instance's.
pub(super) fn hostname() -> String {
    let raw = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    name(&raw).unwrap_or_else(|_| "jupiter".to_owned())
}

/// Where the usual systems keep their certificate authorities.
pub(super) fn system_ca_file() -> String {
    const PLACES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let found = PLACES.iter().find(|place| Path::new(place).exists());
    found.unwrap_or(&PLACES[0]).to_string()
}
