//! `mercator evidence proof`: the proof of one record, to be kept beside it.

use super::export::proof_path;
use crate::client::{Client, ClientError};
use crate::exit::{Answer, Failure};
use crate::output;
use bytes::Bytes;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct ProofArgs {
    /// Id of the record: the `x-mercator-decision-id` of an answer
    id: String,
    /// File to write the record to, and its proof beside it as FILE.proof [default: the proof, to stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A record that has just come waits for the next checkpoint: a second or so.
const ATTEMPTS: u32 = 20;
const AGAIN_AFTER: Duration = Duration::from_millis(250);

async fn sealed(client: &Client, id: &str) -> Result<Bytes, ClientError> {
    let path = format!("v1/evidence/{id}/proof");
    let mut attempt = 1;
    loop {
        match client.bytes(&path).await {
            Err(ClientError::Refused(problem))
                if problem.code == "not_sealed" && attempt < ATTEMPTS =>
            {
                attempt += 1;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
}

pub async fn run(client: &Client, args: &ProofArgs) -> Result<Answer, Failure> {
    let proof = sealed(client, &args.id).await?;
    let Some(file) = &args.output else {
        output::print(&String::from_utf8_lossy(&proof));
        return Ok(Answer::Yes);
    };
    let (record, _) = client.evidence(&args.id).await.map_err(|error| {
        let gone =
            matches!(&error, ClientError::Refused(problem) if problem.code == "retained_no_more");
        let failure = Failure::from(error);
        match gone {
            true => failure.help(
                "its proof holds: without `--output` it is printed, to be kept beside the line of \
                 the archive",
            ),
            false => failure,
        }
    })?;
    let mut line = record.to_vec();
    line.push(b'\n');
    let beside = proof_path(file);
    for (path, content) in [(file, line.as_slice()), (&beside, &proof)] {
        std::fs::write(path, content).map_err(|cause| {
            Failure::new(format!("`{}` cannot be written: {cause}", path.display()))
        })?;
    }
    let (file, beside) = (file.display(), beside.display());
    output::say(&format!("the record is in {file}, its proof in {beside}"));
    Ok(Answer::Yes)
}
