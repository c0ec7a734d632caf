//! A Git repository that policies come from, and keys to sign its commits with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A repository with one branch, `main`; its policies are in `policies/`.
pub(crate) struct Repository {
    folder: TempDir,
}

impl Repository {
    pub(crate) fn new() -> Repository {
        let repository = Repository {
            folder: tempfile::tempdir().expect("a folder"),
        };
        std::fs::create_dir(repository.path()).expect("a folder");
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Nobody finds it any more.
    pub(crate) fn hide(&self) {
        std::fs::rename(self.path(), self.folder.path().join("away")).expect("a rename");
    }

    /// Commits one more version of a policy; the commit's id.
    pub(crate) fn commit(&self, name: &str, text: &str) -> String {
        self.commit_with(name, text, &["--no-gpg-sign"])
    }

    /// The same, signed by an SSH key.
    pub(crate) fn commit_signed(&self, name: &str, text: &str, key: &Key) -> String {
        let signing = format!("--gpg-sign={}", key.private.display());
        self.commit_with(name, text, &[&signing])
    }

    fn commit_with(&self, name: &str, text: &str, signing: &[&str]) -> String {
        let file = self.path().join("policies").join(name);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
        std::fs::write(file, text).expect("a file");
        self.git(&["add", "--all"]);
        let commit = [
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            "change a policy",
        ];
        self.git(&[&commit, signing].concat());
        self.git(&["rev-parse", "HEAD"])
    }

    fn git(&self, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.path())
            .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org"])
            .args(["-c", "gpg.format=ssh"])
            .args(args);
        let output = run(git, "git");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// An SSH key, and the file that says whose it is.
pub(crate) struct Key {
    folder: TempDir,
    private: PathBuf,
}

impl Key {
    pub(crate) fn new() -> Key {
        let folder = tempfile::tempdir().expect("a folder");
        let private = folder.path().join("key");
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
            .arg(&private);
        run(keygen, "ssh-keygen");
        let public = std::fs::read_to_string(private.with_extension("pub")).expect("a key");
        let signers = format!("ann@example.org {public}");
        std::fs::write(folder.path().join("allowed_signers"), signers).expect("a file");
        Key { folder, private }
    }

    pub(crate) fn allowed_signers(&self) -> PathBuf {
        Path::new(self.folder.path()).join("allowed_signers")
    }
}

fn run(mut command: Command, name: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "`{name}` cannot be run ({error}); Debian has it in the packages git and openssh-client"
        )
    });
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}
