//! The evidence of the drills, taken along before the installation goes: all of its
//! log, verified offline, with a checkpoint from before the first drill that it must
//! contain.

use super::super::report::in_name;
use super::installation::Installation;
use crate::exit::Failure;
use jupiter_installation::wait;
use serde::Serialize;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

const RECORDS: &str = "records.jsonl";
const CHECKPOINT: &str = "checkpoint";
const KEY: &str = "evidence.pub";

/// Where it is kept.
#[derive(Debug)]
pub struct Account {
    folder: PathBuf,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    pub folder: PathBuf,
    pub records: usize,
    /// Whether `mercator verify` said yes.
    pub verified: bool,
    /// What it said.
    pub said: String,
}

impl Account {
    pub async fn open(
        installation: &Installation,
        reports: &Path,
        started_at: &str,
    ) -> Result<Account, Failure> {
        let folder = reports.join(format!("evidence-local-{}", in_name(started_at)));
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let unwritable = |e| Failure::new(format!("`{}` cannot be written: {e}", folder.display()));
        fs::create_dir_all(&folder).map_err(unwritable)?;
        let instance = installation.instance(0)?;
        let key = instance.data_dir().join(KEY);
        fs::copy(&key, folder.join(KEY)).map_err(unwritable)?;
        let account = Account { folder };
        // Nothing is sealed before the first exchange, which health checks make.
        let first = wait::until("the first checkpoint", async || {
            let asked = account.checkpoint(installation).await;
            asked.map_err(|failure| failure.to_string())
        });
        first.await?;
        Ok(account)
    }

    /// `found`: so many records there are at least, of all drills.
    pub async fn close(
        &self,
        installation: &Installation,
        found: usize,
    ) -> Result<Evidence, Failure> {
        // An export goes as far as the log is sealed, which takes about a second.
        let sealed = wait::until("every record to be sealed", async || {
            let note = self.checkpoint(installation).await;
            let note = note.map_err(|failure| failure.to_string())?;
            let size = note.lines().nth(1).and_then(|size| size.parse().ok());
            match size.is_some_and(|size: usize| size >= found) {
                true => Ok(()),
                false => Err(format!("{size:?} of {found}")),
            }
        });
        sealed.await?;
        let export = ["evidence", "export", "--output", RECORDS];
        self.must(installation, &export).await?;
        let verify = ["verify", RECORDS, "--key", KEY, "--checkpoint", CHECKPOINT];
        let (verified, said) = self.mercator(installation, &verify).await?;
        let file = self.folder.join(RECORDS);
        let records = fs::File::open(&file)
            .map_err(|e| Failure::new(format!("`{}` cannot be read: {e}", file.display())))?;
        Ok(Evidence {
            folder: self.folder.clone(),
            records: BufReader::new(records).split(b'\n').count(),
            verified,
            said,
        })
    }

    /// Takes the newest, which must contain that of last time.
    async fn checkpoint(&self, installation: &Installation) -> Result<String, Failure> {
        let ask = ["evidence", "checkpoint", "--keep", CHECKPOINT, "--key", KEY];
        self.must(installation, &ask).await
    }

    async fn must(&self, installation: &Installation, ask: &[&str]) -> Result<String, Failure> {
        match self.mercator(installation, ask).await? {
            (true, said) => Ok(said),
            (false, said) => {
                let ask = ask.join(" ");
                Err(Failure::no(format!(
                    "`mercator {ask}` did not succeed: {said}"
                )))
            }
        }
    }

    /// As its owner would ask: whether it said yes, and what it said.
    async fn mercator(
        &self,
        installation: &Installation,
        ask: &[&str],
    ) -> Result<(bool, String), Failure> {
        let instance = installation.instance(0)?;
        let mut command = Command::new(&installation.mercator);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MERCATOR_") {
                command.env_remove(name);
            }
        }
        command.args(ask);
        if ask.first() == Some(&"evidence") {
            let server = format!("http://127.0.0.1:{}", instance.ports().admin);
            command.args(["--server", &server]);
            command.arg("--token-file").arg(instance.token_file());
        }
        let ran = command
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| Failure::new(format!("mercator cannot be started: {e}")))?;
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        Ok((ran.status.success(), said))
    }
}
