//! Ends an installation when the one who started it is gone, however that came.

use crate::{InstallationError, partition};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Waits for the end of its standard input, which only its parent holds open; then
/// kills whatever names the folder on its command line, and lets packets through
/// again. Processes of Postgres end with their postmaster. A folder that was made for
/// this is removed, unless something was said before the end.
const SCRIPT: &str = r#"
folder=$1 temporary=$2 table=$3
PATH=$PATH:/usr/sbin
said=$(cat)
for line in /proc/[0-9]*/cmdline; do
    pid=${line%/cmdline}
    pid=${pid#/proc/}
    [ "$pid" = $$ ] && continue
    if tr '\0' ' ' 2>/dev/null <"$line" | grep -qF -- "$folder/"; then
        kill -9 "$pid"
    fi
done
if command -v nft >/dev/null; then nft delete table inet "$table"; fi
if [ "$temporary" = yes ] && [ -z "$said" ]; then rm -rf -- "$folder"; fi
"#;

/// A process beside ours; when this is dropped, it has done what there was to do.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
}

impl Keeper {
    pub fn start(folder: &Path, temporary: bool) -> Result<Keeper, InstallationError> {
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(folder)
            .arg(if temporary { "yes" } else { "no" })
            .arg(partition::table(std::process::id()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Of its own, or Ctrl-C in a terminal would end it first.
            .process_group(0)
            .spawn()
            .map_err(|cause| InstallationError::Start {
                program: "sh".to_owned(),
                cause,
            })?;
        Ok(Keeper { child })
    }

    /// The folder is wanted: somebody should look at it.
    pub fn keep_folder(&mut self) {
        if let Some(stdin) = &mut self.child.stdin {
            // Where nobody listens, nobody removes it either.
            let _ = stdin.write_all(b"keep");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Program, wait};

    #[tokio::test]
    async fn keeper_ends_what_names_the_folder_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("installation");
        std::fs::create_dir(&kept).unwrap();
        let sleeper = |name: &str, argument: &Path| {
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 60; :"]).arg(argument);
            Program::start(name, command, folder.path().join(name)).unwrap()
        };
        let mut of_it = sleeper("of-it", &kept.join("data"));
        let mut other = sleeper("other", &folder.path().join("installation-2"));
        let mut keeper = Keeper::start(&kept, true).unwrap();
        keeper.keep_folder();
        assert!(of_it.ended().is_none());
        drop(keeper);
        let ended = wait::until("its end", async || of_it.ended().ok_or("runs"));
        assert!(!ended.await.unwrap().success());
        assert!(other.ended().is_none());
        assert!(kept.exists());
        drop(Keeper::start(&kept, true).unwrap());
        assert!(!kept.exists());
    }
}
