//! From plugin configuration to the bundle in force.
//!
//! Either everything fits (the digest names exactly these bytes, and they
//! load) or the configuration is refused and the previous one keeps serving.

use crate::config::PluginConfig;
use base64::Engine;
use jupiter_policy::{Bundle, BundleDigest, LoadError};
use std::fmt;

/// A checked configuration with its bundle loaded.
#[derive(Debug)]
pub struct Settings {
    pub config: PluginConfig,
    /// `None`: there is no policy yet, everything is refused.
    pub bundle: Option<BundleInForce>,
}

/// A loaded bundle and the name it goes by in evidence.
#[derive(Debug)]
pub struct BundleInForce {
    pub bundle: Bundle,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// The Git commit its policies came from.
    pub commit: Option<String>,
    /// When a control plane last said that it is in force.
    pub confirmed_unix_s: Option<u64>,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsError {
    Config(String),
    NotBase64,
    DigestMismatch { announced: String, found: String },
    Load(LoadError),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Config(error) => f.write_str(error),
            SettingsError::NotBase64 => f.write_str("the bundle's `data` is not base64"),
            SettingsError::DigestMismatch { announced, found } => {
                write!(f, "the bundle is `{found}`, not `{announced}` as announced")
            }
            SettingsError::Load(error) => write!(f, "the bundle does not load: {error}"),
        }
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Checks a plugin configuration as Envoy hands it over.
    pub fn parse(configuration: &[u8]) -> Result<Settings, SettingsError> {
        let mut config = PluginConfig::parse(configuration).map_err(SettingsError::Config)?;
        let bundle = match config.bundle.take() {
            None => None,
            Some(carried) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(carried.data)
                    .map_err(|_| SettingsError::NotBase64)?;
                let found = BundleDigest::of(&bytes).to_string();
                if found != carried.digest {
                    let announced = carried.digest;
                    return Err(SettingsError::DigestMismatch { announced, found });
                }
                let bundle = Bundle::load(&bytes).map_err(SettingsError::Load)?;
                Some(BundleInForce {
                    bundle,
                    digest: found,
                    commit: carried.commit,
                    confirmed_unix_s: carried.confirmed_unix_s,
                })
            }
        };
        Ok(Settings { config, bundle })
    }

    /// Whether too long has passed since a control plane last confirmed the bundle.
    pub fn is_stale(&self, now_unix_us: u64) -> bool {
        let confirmed = self.bundle.as_ref().and_then(|b| b.confirmed_unix_s);
        match (confirmed, self.config.inspection.max_staleness_s) {
            (Some(confirmed), Some(most)) => {
                (now_unix_us / 1_000_000).saturating_sub(confirmed) > most
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_without_bundle_is_valid_and_refuses() {
        let settings =
            Settings::parse(br#"{"instance":"a","region":"r","environment":"e"}"#).unwrap();
        assert!(settings.bundle.is_none());
        assert_eq!(settings.config.inspection.max_body_bytes, 1_048_576);
    }

    #[test]
    fn bundle_that_is_not_what_it_is_called_is_refused() {
        let config = format!(
            r#"{{"instance":"a","region":"r","environment":"e","bundle":{{"digest":"{}","data":"AAAA"}}}}"#,
            BundleDigest::of(b"other")
        );
        let error = Settings::parse(config.as_bytes()).unwrap_err();
        assert!(
            matches!(error, SettingsError::DigestMismatch { .. }),
            "{error}"
        );
    }

    #[test]
    fn commit_of_a_bundle_is_kept_and_may_be_absent() {
        let bundle = jupiter_policy::compile(&[]).unwrap();
        let data = base64::engine::general_purpose::STANDARD.encode(&bundle);
        let digest = BundleDigest::of(&bundle);
        for (commit, expected) in [(r#","commit":"c0ffee""#, Some("c0ffee")), ("", None)] {
            let config = format!(
                r#"{{"instance":"a","region":"r","environment":"e","bundle":{{"digest":"{digest}","data":"{data}"{commit}}}}}"#
            );
            let settings = Settings::parse(config.as_bytes()).unwrap();
            assert_eq!(settings.bundle.unwrap().commit.as_deref(), expected);
        }
    }

    #[test]
    fn unknown_keys_and_bad_encodings_are_refused() {
        for config in [
            r#"{"instance":"a","region":"r","environment":"e","surprise":1}"#,
            r#"{"instance":"a","region":"r","environment":"e","bundle":{"digest":"x","data":"%%"}}"#,
            "not json",
        ] {
            assert!(Settings::parse(config.as_bytes()).is_err(), "{config}");
        }
    }
}
