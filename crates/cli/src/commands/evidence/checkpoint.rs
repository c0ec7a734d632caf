//! `mercator evidence checkpoint`: what the log says of itself, and whether it
//! still says what it said before.
//!
//! Whoever keeps a checkpoint where the log's operator cannot write makes it
//! impossible to rewrite what is under it. Run now and then with `--keep`, this
//! is all that takes.

use super::log::Log;
use crate::client::Client;
use crate::commands::verify::read_keys;
use crate::exit::{Answer, Failure};
use crate::output;
use jupiter_evidence::tree::{Checkpoint, NoteVerifier, consistency_path, proves_consistency};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct CheckpointArgs {
    /// File with the checkpoint of last time: see that the log contains it, then keep the new one
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
    /// Public key of the log, or a file with one or more [default: ./data/evidence.pub]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

pub async fn run(client: &Client, args: &CheckpointArgs) -> Result<Answer, Failure> {
    let keys = read_keys(args.key.as_deref())?;
    let log = Log::fetch(client).await?;
    let (checkpoint, _) = Checkpoint::open(&log.note, &keys)
        .map_err(|error| Failure::no(format!("the log's checkpoint: {error}")))?;
    if let Some(path) = &args.keep {
        match kept(path, &keys)? {
            Some(before) => {
                contains(&log, &checkpoint, &before).await?;
                output::say(&format!(
                    "the log of {} records contains the kept checkpoint over {}",
                    checkpoint.size, before.size
                ));
            }
            None => output::say("the first checkpoint that is kept here"),
        }
        replace(path, &log.note)?;
    }
    output::print(&log.note);
    Ok(Answer::Yes)
}

fn kept(path: &Path, keys: &[NoteVerifier]) -> Result<Option<Checkpoint>, Failure> {
    let note = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = path.display();
            return Err(Failure::new(format!("`{path}` cannot be read: {error}")));
        }
        Ok(note) => note,
    };
    match Checkpoint::open(&note, keys) {
        Ok((checkpoint, _)) => Ok(Some(checkpoint)),
        Err(error) => Err(Failure::new(format!("`{}`: {error}", path.display()))),
    }
}

async fn contains(log: &Log<'_>, now: &Checkpoint, before: &Checkpoint) -> Result<(), Failure> {
    if now.origin != before.origin {
        let (now, before) = (output::plain(&now.origin), output::plain(&before.origin));
        return Err(Failure::new(format!(
            "the kept checkpoint is of log `{before}`, this is `{now}`"
        )));
    }
    let keep_both = "keep both checkpoints: they prove it";
    if before.size > now.size {
        return Err(Failure::no(format!(
            "the log has {} records and had {}: it was set back",
            now.size, before.size
        ))
        .help(keep_both));
    }
    let proof = log.hashes(&consistency_path(before.size, now.size)).await?;
    let (old, new) = ((before.size, &before.root), (now.size, &now.root));
    match proves_consistency(old, new, &proof) {
        true => Ok(()),
        false => Err(Failure::no(format!(
            "the log does not contain the kept checkpoint over {} records: there are two histories",
            before.size
        ))
        .help(keep_both)),
    }
}

/// Either the old or the new one is there, whatever happens.
fn replace(path: &Path, note: &str) -> Result<(), Failure> {
    let failed = |cause| Failure::new(format!("`{}` cannot be written: {cause}", path.display()));
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, note).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}
