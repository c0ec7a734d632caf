//! `mercator compile`: policies to the bundle that the filter loads, without a server.
//!
//! The same bytes the control plane makes of the same policies, so the digest tells
//! whether what is in force is what lies in the files.

use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use crate::texts;
use jupiter_policy::{BundleDigest, Policy};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct CompileArgs {
    /// Policy files, folders to search for *.yaml and *.yml, or `-` for stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Where the bundle goes; without it, only its digest is told
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &CompileArgs, format: Format) -> Result<Answer, Failure> {
    let Some(policies) = texts::policies(&args.paths, format)? else {
        output::say("not valid, so not compiled");
        return Ok(Answer::No);
    };
    let bytes = jupiter_policy::compile(&policies)
        .map_err(|e| Failure::no(format!("the policies make no bundle together: {e}")))?;
    if let Some(file) = &args.output {
        write(file, &bytes)
            .map_err(|e| Failure::new(format!("`{}` cannot be written: {e}", file.display())))?;
    }
    let digest = BundleDigest::of(&bytes);
    let file = args.output.as_ref().map(|file| file.display().to_string());
    match format {
        Format::Text => {
            output::print(digest.as_str());
            let what = output::counted(policies.len(), "policy", "policies");
            let size = bytes.len();
            output::say(&match file {
                Some(file) => format!("{what} in {size} bytes, written to {file}"),
                None => format!("{what} in {size} bytes; `--output FILE` writes them"),
            });
        }
        Format::Json => output::print_json(&json!({
            "digest": digest.as_str(),
            "bytes": bytes.len(),
            "file": file,
            "policies": policies.iter().map(named).collect::<Vec<Value>>(),
        })),
    }
    Ok(Answer::Yes)
}

fn named(policy: &Policy) -> Value {
    json!({"name": policy.name(), "version": policy.version()})
}

/// In one step: whoever watches the file sees the old bundle or the new one. What is no file,
/// a pipe or a device, is written to and stays what it is.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if std::fs::metadata(file).is_ok_and(|at| !at.is_file() && !at.is_dir()) {
        return OpenOptions::new().write(true).open(file)?.write_all(bytes);
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Readable as any file this user makes: Envoy may run as another one.
    let mut beside = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    beside.write_all(bytes)?;
    beside.persist(file)?;
    Ok(())
}
