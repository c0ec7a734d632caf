//! `mercator evidence export`: records in a file, and beside it the proof that
//! `mercator verify` needs.
//!
//! Records come in the order of the log, as of its newest checkpoint. Only
//! JSONL can be proven: its lines are the bytes that were hashed. The other
//! formats are views for programs that want them.

use super::log::Log;
use super::{Filters, Subject, views};
use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, FormatArg};
use indicatif::{ProgressBar, ProgressStyle};
use jupiter_evidence::export::{ConsistencyProof, ExportProof, PROOF_FORMAT, ranges_of};
use jupiter_evidence::retention::Retention;
use jupiter_evidence::tree::{
    Checkpoint, Hash, TILE_WIDTH, consistency_path, gaps_between, root_of_cover,
};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "--format jsonl, the default, writes one record a line, byte for byte, which can be \
                  verified; csv, ocsf and cloudevents are views that cannot."
)]
pub struct ExportArgs {
    /// File to write to; beside it, for jsonl, the proof as FILE.proof [default: stdout, without proof]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// From this place of the log on: where the last export ended
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from_index: u64,
    /// An earlier checkpoint to show consistency with; may be given several times
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    #[command(flatten)]
    filters: Filters,
}

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExportFormat {
    /// One record a line, byte for byte.
    Jsonl,
    Csv,
    /// One event a line.
    Ocsf,
    /// One event a line.
    CloudEvents,
}

/// Where the proof of an export lies.
pub fn proof_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".proof");
    name.into()
}

fn not_written(path: &Path) -> impl Fn(std::io::Error) -> Failure {
    move |cause| Failure::new(format!("`{}` cannot be written: {cause}", path.display()))
}

pub async fn run(client: &Client, args: ExportArgs, format: FormatArg) -> Result<Answer, Failure> {
    let format = match format {
        FormatArg::Text | FormatArg::Json | FormatArg::Jsonl => ExportFormat::Jsonl,
        FormatArg::Csv => ExportFormat::Csv,
        FormatArg::Ocsf => ExportFormat::Ocsf,
        FormatArg::Cloudevents => ExportFormat::CloudEvents,
    };
    let log = Log::fetch(client).await?;
    let mut export = Export::begin(&args, format)?;
    // Whose a record is stands beside it, in answers to queries alone.
    match args.filters.is_empty() && format == ExportFormat::Jsonl {
        true => export.all(&log, args.from_index).await?,
        false => {
            export
                .filtered(client, &log, &args.filters, args.from_index)
                .await?;
        }
    }
    if export.closed {
        return Ok(Answer::Yes);
    }
    export.out.flush().map_err(export.failed())?;
    let count = export.indexes.len() as u64 - export.gone.lost;
    if export.gone.records > 0 {
        output::say(&format!(
            "{} records are retained no more; the archive has them",
            export.gone.records
        ));
    }
    if export.gone.lost > 0 {
        output::say(&format!(
            "{} records are not in the database, and should be: verifying names them",
            export.gone.lost
        ));
    }
    let Some(file) = &args.output else {
        return Ok(Answer::Yes);
    };
    if format != ExportFormat::Jsonl {
        output::say(&format!(
            "{count} records in {}; this format cannot be verified",
            file.display()
        ));
        return Ok(Answer::Yes);
    }
    let fits = export.write_proof(&log, file, &args.checkpoint).await?;
    let proof = proof_path(file);
    output::say(&format!(
        "{count} records in {}, their proof in {}; log of {} records",
        file.display(),
        proof.display(),
        log.size
    ));
    if !fits {
        return Err(
            Failure::no("the hashes the control plane sent do not lead to its checkpoint").help(
                format!(
                    "keep both files; `mercator verify {}` says more",
                    file.display()
                ),
            ),
        );
    }
    Ok(Answer::Yes)
}

struct Export {
    out: Box<dyn Write>,
    path: PathBuf,
    format: ExportFormat,
    /// Of what was written, in order, and their hashes in the log.
    indexes: Vec<u64>,
    leaves: Vec<Hash>,
    /// Nobody reads any more (`| head`).
    closed: bool,
    gone: Gone,
}

/// What is retained no more, as the control plane says: whoever verifies believes the key.
#[derive(Default)]
struct Gone {
    notes: Vec<String>,
    leaves: Vec<Range<u64>>,
    records: u64,
    /// Records that are not there, and should be.
    lost: u64,
}

impl Gone {
    /// What is about leaves from one on.
    async fn of(log: &Log<'_>, from: u64) -> Result<Gone, Failure> {
        let mut gone = Gone::default();
        for note in log.retentions().await? {
            let Some(retention) = Retention::unverified(&note) else {
                return Err(Failure::new("the control plane sent a spoiled statement"));
            };
            let leaves = retention.leaves.iter();
            let leaves = leaves.map(|it| it.first..it.first.saturating_add(it.count));
            let before = gone.leaves.len();
            gone.leaves.extend(leaves.filter(|it| it.end > from));
            if gone.leaves.len() > before {
                gone.notes.push(note);
            }
        }
        gone.leaves.sort_unstable_by_key(|leaves| leaves.start);
        Ok(gone)
    }

    fn has(&self, index: u64) -> bool {
        let behind = self.leaves.partition_point(|leaves| leaves.start <= index);
        let last = behind.checked_sub(1).and_then(|at| self.leaves.get(at));
        last.is_some_and(|leaves| leaves.contains(&index))
    }
}

impl Export {
    fn begin(args: &ExportArgs, format: ExportFormat) -> Result<Export, Failure> {
        let path = args.output.clone().unwrap_or_else(|| "-".into());
        let out: Box<dyn Write> = match &args.output {
            Some(path) => Box::new(BufWriter::new(
                File::create(path).map_err(not_written(path))?,
            )),
            None => Box::new(BufWriter::new(std::io::stdout())),
        };
        let mut export = Export {
            out,
            path,
            format,
            indexes: Vec::new(),
            leaves: Vec::new(),
            closed: false,
            gone: Gone::default(),
        };
        if export.format == ExportFormat::Csv {
            let head = views::csv_head();
            export
                .out
                .write_all(head.as_bytes())
                .map_err(export.failed())?;
        }
        Ok(export)
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> Failure {
        let path = self.path.clone();
        move |cause| not_written(&path)(cause)
    }

    fn write(
        &mut self,
        index: u64,
        record: &[u8],
        subject: Option<&str>,
        leaf: Hash,
    ) -> Result<(), Failure> {
        let line = match self.format {
            ExportFormat::Jsonl => record.to_vec(),
            ExportFormat::Csv => views::csv(index, record, subject).into_bytes(),
            ExportFormat::Ocsf => views::ocsf(record, subject).into_bytes(),
            ExportFormat::CloudEvents => views::cloudevents(record, subject).into_bytes(),
        };
        let written = self.out.write_all(&line);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        if let Err(error) = written {
            self.closed = error.kind() == ErrorKind::BrokenPipe;
            return match self.closed {
                true => Ok(()),
                false => Err(self.failed()(error)),
            };
        }
        self.indexes.push(index);
        self.leaves.push(leaf);
        Ok(())
    }

    /// A record that should be there: its place is in the proof, so that verifying names it.
    fn leave_out(&mut self, index: u64, leaf: Hash) {
        self.gone.lost += 1;
        self.indexes.push(index);
        self.leaves.push(leaf);
    }

    /// The log from one place to its end, bundle by bundle.
    async fn all(&mut self, log: &Log<'_>, from: u64) -> Result<(), Failure> {
        self.gone = Gone::of(log, from).await?;
        let progress = progress(log.size.saturating_sub(from), "records");
        for bundle in from / TILE_WIDTH..log.size.div_ceil(TILE_WIDTH) {
            let first = bundle * TILE_WIDTH;
            if self.closed {
                break;
            }
            let records = log.records(bundle).await?;
            let leaves = log.leaves(bundle).await?;
            for ((index, record), leaf) in (first..).zip(&records).zip(leaves) {
                if index < from {
                    continue;
                }
                match (record.is_empty(), self.gone.has(index)) {
                    (false, _) => self.write(index, record, None, leaf)?,
                    (true, true) => self.gone.records += 1,
                    (true, false) => self.leave_out(index, leaf),
                }
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// What matches, put into the order of the log.
    async fn filtered(
        &mut self,
        client: &Client,
        log: &Log<'_>,
        filters: &Filters,
        from: u64,
    ) -> Result<(), Failure> {
        let (mut found, waiting) = filters.with_indexes(client).await?;
        found.retain(|found| (from..log.size).contains(&found.index));
        found.sort_unstable_by_key(|found| found.index);
        if waiting > 0 {
            output::say(&format!(
                "{waiting} matching records wait for their checkpoint"
            ));
        }
        let mut tile: Option<(u64, Vec<Hash>)> = None;
        for found in found {
            let index = found.index;
            let (number, place) = (index / TILE_WIDTH, (index % TILE_WIDTH) as usize);
            let leaves = match tile.take() {
                Some((known, leaves)) if known == number => leaves,
                _ => log.leaves(number).await?,
            };
            let leaf = leaves.get(place).copied().unwrap_or_default();
            tile = Some((number, leaves));
            let subject = found.subject.as_ref().map(Subject::shown);
            self.write(index, found.record.get().as_bytes(), subject, leaf)?;
        }
        Ok(())
    }

    /// Whether the hashes lead to the checkpoint: what is written in any case.
    async fn write_proof(
        &self,
        log: &Log<'_>,
        file: &Path,
        earlier: &[PathBuf],
    ) -> Result<bool, Failure> {
        let ranges = ranges_of(&self.indexes);
        let shown: Vec<_> = ranges.iter().map(|(from, n)| *from..from + n).collect();
        let between = log.hashes(&gaps_between(&shown, log.size)).await?;
        let mut consistency = Vec::new();
        for path in earlier {
            let note = std::fs::read_to_string(path).map_err(|cause| {
                Failure::new(format!("`{}` cannot be read: {cause}", path.display()))
            })?;
            let size = Checkpoint::unverified(&note)
                .ok_or_else(|| Failure::new(format!("`{}` is no checkpoint", path.display())))?
                .size;
            let path = consistency_path(size, log.size);
            let hashes = log.hashes(&path).await?;
            consistency.push(ConsistencyProof { size, hashes });
        }
        let leaves = self.leaves.iter().copied();
        let root = root_of_cover(log.size, &shown, leaves, between.iter().copied());
        let signed = Checkpoint::unverified(&log.note).map(|checkpoint| checkpoint.root);
        let proof = ExportProof {
            format: PROOF_FORMAT.to_owned(),
            checkpoint: log.note.clone(),
            ranges,
            leaves: self.leaves.clone(),
            between,
            consistency,
            retentions: self.gone.notes.clone(),
        };
        let path = proof_path(file);
        let mut out = BufWriter::new(File::create(&path).map_err(not_written(&path))?);
        serde_json::to_writer(&mut out, &proof)
            .map_err(std::io::Error::from)
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.flush())
            .map_err(not_written(&path))?;
        Ok(root.is_some() && root == signed)
    }
}

/// On stderr, and only where a person looks.
pub fn progress(length: u64, unit: &str) -> ProgressBar {
    let template = format!("{{bar:40}} {{human_pos}}/{{human_len}} {unit}, {{eta}} left");
    let style = ProgressStyle::with_template(&template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
