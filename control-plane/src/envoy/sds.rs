//! Credentials for Envoy, each in a secret file of its own.
//!
//! Envoy reads them by its secret discovery and puts them into requests; they
//! are in no other file, never in the main configuration and never in wasm.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::files::write_private;
use crate::config::{Config, Secret};

/// A credential Envoy injects, by the name of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    name: String,
}

impl Credential {
    /// What Envoy shows the control plane.
    pub fn emitter() -> Credential {
        Credential {
            name: "emitter".to_owned(),
        }
    }

    /// What Envoy shows a provider.
    pub fn provider(name: &str) -> Credential {
        Credential {
            name: format!("provider-{name}"),
        }
    }

    fn path(&self, config: &Config) -> PathBuf {
        secrets_dir(config).join(format!("{}.yaml", self.name))
    }

    /// How a filter refers to the secret.
    pub(super) fn sds_reference(&self, config: &Config) -> Value {
        json!({
            "name": self.name,
            "sds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": self.path(config),
                    "watched_directory": {"path": secrets_dir(config)},
                },
            },
        })
    }

    /// Writes the file, mode 0600; a running Envoy takes the new value at once.
    pub fn write(&self, config: &Config, secret: &Secret) -> io::Result<()> {
        // Flow style JSON is YAML too, and needs no second serialiser to be right.
        let resource = json!({"resources": [{
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            "name": self.name,
            "generic_secret": {"secret": {"inline_string": secret.expose()}},
        }]});
        write_private(&self.path(config), format!("{resource}\n").as_bytes())
    }
}

/// Writes every secret the configuration refers to, and removes all others: a
/// key taken out of the configuration does not stay on the disk.
pub fn write_all(config: &Config, emitter_token: &Secret) -> io::Result<()> {
    let mut written = vec![(Credential::emitter(), emitter_token)];
    for provider in &config.providers {
        let credential = Credential::provider(&provider.name);
        written.extend(provider.api_key.as_ref().map(|key| (credential, key)));
    }
    for (credential, secret) in &written {
        credential.write(config, secret)?;
    }
    for entry in fs::read_dir(secrets_dir(config))? {
        let path = entry?.path();
        let is_ours = |(credential, _): &(Credential, &Secret)| credential.path(config) == path;
        if !written.iter().any(is_ours) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn secrets_dir(config: &Config) -> PathBuf {
    config.envoy_dir().join("secrets")
}
