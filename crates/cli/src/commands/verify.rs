//! `mercator verify`: whether exported records are those that were logged, all
//! of them, in order; needs no server.
//!
//! Trusts the keys it is given and nothing in the files. Says what is proven,
//! what is not as it should be, and what cannot be told from these files.

mod show;

use super::evidence::{progress, proof_path};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use jupiter_evidence::LeafHash;
use jupiter_evidence::export::{ExportProof, PROOF_FORMAT};
use jupiter_evidence::tree::{CosignerKey, InclusionProof, NoteVerifier, ProofError};
use jupiter_evidence::verify::{Finding, LineFacts, Names, Report, check_cosigners, verify};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Read at once, then worked on by all cores.
const BLOCK: usize = 16 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Exported records, one a line
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Their proof [default: FILE.proof]
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Public key of the log, or a file with one or more [default: ./data/evidence.pub]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A checkpoint known from elsewhere that the log must contain; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Public key of one who vouches for the log (a C2SP witness), or a file with some; may be
    /// given several times
    #[arg(long, value_name = "KEY")]
    cosigner: Vec<String>,
    /// A policy bundle, to see that records name it; may be given several times
    #[arg(long, value_name = "FILE")]
    bundle: Vec<PathBuf>,
}

/// A bundle and how many records name it.
struct CheckedBundle {
    path: PathBuf,
    digest: String,
    records: u64,
}

pub fn run(args: &VerifyArgs, format: Format) -> Result<Answer, Failure> {
    let keys = read_keys(args.key.as_deref())?;
    let cosigners = read_cosigners(&args.cosigner)?;
    let trusted: Vec<String> = args
        .checkpoint
        .iter()
        .map(|p| text_of(p))
        .collect::<Result<_, _>>()?;
    let proof_file = args.proof.clone().unwrap_or_else(|| proof_path(&args.file));
    let proof = text_of(&proof_file).map_err(|failure| {
        failure.help("give the proof that `mercator evidence export` wrote with `--proof`")
    })?;
    let lines = read_lines(&args.file)?;
    let (mut report, checkpoint) = match InclusionProof::is_begun_by(&proof) {
        true => verify_one(&lines, &proof, &keys, &trusted)?,
        false => {
            let proof: ExportProof = serde_json::from_str(&proof).map_err(|error| {
                Failure::new(format!(
                    "`{}` is no proof (line {}, column {})",
                    proof_file.display(),
                    error.line(),
                    error.column()
                ))
            })?;
            (verify(&lines, &proof, &keys, &trusted), proof.checkpoint)
        }
    };
    check_cosigners(&mut report, &checkpoint, &cosigners);
    let bundles = check_bundles(&args.bundle, &report)?;
    match format {
        Format::Text => output::print(&show::text(&report, &bundles, lines.len())),
        Format::Json => output::print_json(&show::json(&report, &bundles, lines.len())),
    }
    let strangers = bundles.iter().any(|bundle| bundle.records == 0);
    Ok(
        match (report.findings.is_empty(), report.unknown.is_empty()) {
            (false, _) => Answer::No,
            (true, true) if !strangers => Answer::Yes,
            _ => Answer::CouldNotTell,
        },
    )
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Failure {
    Failure::new(format!("`{}` cannot be read: {cause}", path.display()))
}

fn text_of(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|cause| unreadable(path, &cause))
}

/// The keys that are trusted: those given, or the instance's own.
pub fn read_keys(given: Option<&str>) -> Result<Vec<NoteVerifier>, Failure> {
    let own = || {
        let data = std::env::var_os("MERCATOR_DATA_DIR").unwrap_or_else(|| "data".into());
        Path::new(&data).join("evidence.pub")
    };
    if let Some(Ok(key)) = given.map(str::parse::<NoteVerifier>) {
        return Ok(vec![key]);
    }
    let path = given.map_or_else(own, PathBuf::from);
    let text = text_of(&path).map_err(|failure| {
        failure.help(
            "give the log's public key with `--key`: it is in `evidence.pub` of its data directory",
        )
    })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Vec<NoteVerifier> = lines
        .map(|line| {
            line.parse()
                .map_err(|error| Failure::new(format!("`{}`: {error}", path.display())))
        })
        .collect::<Result<_, _>>()?;
    match keys.is_empty() {
        true => Err(Failure::new(format!(
            "`{}` has no key in it",
            path.display()
        ))),
        false => Ok(keys),
    }
}

/// The keys of trusted cosigners, given or in files.
fn read_cosigners(given: &[String]) -> Result<Vec<CosignerKey>, Failure> {
    let mut keys = Vec::new();
    for given in given {
        if let Ok(key) = given.parse() {
            keys.push(key);
            continue;
        }
        let text = text_of(Path::new(given)).map_err(|failure| {
            failure.help("give a public key, or a file of them: `cosign.pub` of a control plane")
        })?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let key = line.parse::<CosignerKey>();
            keys.push(key.map_err(|error| Failure::new(format!("`{given}`: {error}")))?);
        }
    }
    Ok(keys)
}

/// Every line as far as it matters, hashed and read on all cores.
fn read_lines(path: &Path) -> Result<Vec<LineFacts>, Failure> {
    let failed = |cause| unreadable(path, &cause);
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let bar = progress(length, "bytes");
    let mut facts = Vec::new();
    let mut block = Vec::new();
    loop {
        let begun = block.len();
        let read = Read::by_ref(&mut file)
            .take(BLOCK as u64)
            .read_to_end(&mut block)
            .map_err(failed)?;
        bar.inc(read as u64);
        // Up to the last line end, and all of it at the end of the file.
        let whole = match read {
            0 => begun,
            _ => memchr::memrchr(b'\n', &block).map_or(0, |at| at + 1),
        };
        let rest = block.split_off(whole);
        let lines = lines_of(&block);
        facts.par_extend(
            lines
                .into_par_iter()
                .map_init(Names::default, |names, line| LineFacts::read(line, names)),
        );
        block = rest;
        if read == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(facts)
}

/// Behind the last line end there is no line.
fn lines_of(block: &[u8]) -> Vec<&[u8]> {
    let ends = memchr::memchr_iter(b'\n', block);
    let mut begin = 0;
    let mut lines: Vec<&[u8]> = ends
        .filter_map(|end| {
            let line = block.get(begin..end);
            begin = end + 1;
            line
        })
        .collect();
    lines.extend(block.get(begin..).filter(|last| !last.is_empty()));
    lines
}

/// A single record with a C2SP `tlog-proof`, which is an export of one line.
fn verify_one(
    lines: &[LineFacts],
    proof: &str,
    keys: &[NoteVerifier],
    trusted: &[String],
) -> Result<(Report, String), Failure> {
    let [line] = lines else {
        return Err(Failure::new(format!(
            "a tlog-proof is of one record, and the file has {} lines",
            lines.len()
        )));
    };
    let proof = InclusionProof::parse(proof).map_err(|error| Failure::new(error.to_string()))?;
    let mut report = Report::default();
    let verified = proof.verify(LeafHash(line.leaf), keys);
    match verified {
        Ok(_) => {}
        Err(ProofError::Checkpoint(error)) => report.findings.push(Finding::Checkpoint(error)),
        Err(ProofError::WrongRecord | ProofError::Malformed) => {
            report.findings.push(Finding::Changed {
                line: 0,
                index: proof.index,
                id: line.id,
            });
        }
    }
    if !report.findings.is_empty() {
        return Ok((report, proof.checkpoint));
    }
    // Its hashes prove the same as those between the lines of an export, in
    // another order: from left to right instead of from the leaf up.
    let size =
        jupiter_evidence::tree::Checkpoint::unverified(&proof.checkpoint).map_or(0, |c| c.size);
    let path = jupiter_evidence::tree::inclusion_path(proof.index, size);
    let mut between: Vec<_> = path.into_iter().zip(proof.hashes).collect();
    between.sort_unstable_by_key(|(range, _)| range.start);
    let proof = ExportProof {
        format: PROOF_FORMAT.to_owned(),
        checkpoint: proof.checkpoint,
        ranges: vec![(proof.index, 1)],
        leaves: vec![line.leaf],
        between: between.into_iter().map(|(_, hash)| hash).collect(),
        consistency: vec![],
        retentions: vec![],
    };
    Ok((verify(lines, &proof, keys, trusted), proof.checkpoint))
}

fn check_bundles(paths: &[PathBuf], report: &Report) -> Result<Vec<CheckedBundle>, Failure> {
    let policies: &BTreeMap<String, u64> = &report.policies;
    let check = |path: &PathBuf| {
        let bytes = std::fs::read(path).map_err(|cause| unreadable(path, &cause))?;
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = format!("sha256:{hex}");
        Ok(CheckedBundle {
            path: path.clone(),
            records: policies.get(&digest).copied().unwrap_or(0),
            digest,
        })
    };
    paths.iter().map(check).collect()
}

#[cfg(test)]
mod tests;
