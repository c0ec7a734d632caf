//! The key that cosigns, and the file that tells others its public half.
//!
//! It is never the log's own: a cosignature does not name its signer.

use jupiter_evidence::tree::{Cosigner, KeyError};
use std::fs;
use std::io;
use std::path::Path;

use crate::config::Secret;
use crate::envoy::files::write_private;
use crate::seal::KeysError;

/// In the data directory.
const SECRET_FILE: &str = "cosign.key";
const PUBLIC_FILE: &str = "cosign.pub";

/// The key configured, or that of the file, which is made when there is none.
pub(super) fn load(
    data_dir: &Path,
    name: &str,
    configured: Option<&Secret>,
) -> Result<Cosigner, KeysError> {
    let secret = data_dir.join(SECRET_FILE);
    let public = data_dir.join(PUBLIC_FILE);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |cause| KeysError::File { path, cause }
    };
    let (place, cosigner) = match configured {
        Some(key) => (
            "`evidence.cosign.signing_key`".to_owned(),
            key.expose().parse(),
        ),
        None => match fs::read_to_string(&secret) {
            Ok(text) => (format!("`{}`", secret.display()), text.trim().parse()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && public.exists() => {
                return Err(KeysError::Lost { secret, public });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|_| KeysError::NoRandomness)?;
                let made: Result<Cosigner, KeyError> = Cosigner::new(name, &seed);
                if let Ok(made) = &made {
                    let text = format!("{}\n", made.to_secret_text());
                    write_private(&secret, text.as_bytes()).map_err(at(&secret))?;
                }
                ("`evidence.cosign.name`".to_owned(), made)
            }
            Err(error) => return Err(at(&secret)(error)),
        },
    };
    let cosigner = cosigner.map_err(|cause| KeysError::BadKey { place, cause })?;
    let text = format!("{}\n", cosigner.verifier());
    write_private(&public, text.as_bytes()).map_err(at(&public))?;
    Ok(cosigner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_made_once_and_its_loss_is_not_covered_up() {
        let folder = tempfile::tempdir().unwrap();
        let load = || load(folder.path(), "mercator/local/witness", None);
        let first = load().unwrap().verifier();
        assert_eq!(load().unwrap().verifier(), first);
        let public = fs::read_to_string(folder.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(public.trim().parse(), Ok(first));
        fs::remove_file(folder.path().join(SECRET_FILE)).unwrap();
        assert!(matches!(load(), Err(KeysError::Lost { .. })));
    }
}
