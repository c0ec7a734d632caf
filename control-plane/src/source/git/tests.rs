//! The real `git` on repositories in a folder.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::config::Repository;

struct World {
    folder: tempfile::TempDir,
}

fn git(folder: &Path, args: &[&str]) {
    let run = Command::new("git")
        .args([
            "-c",
            "user.name=Ann \u{c4}",
            "-c",
            "user.email=ann@example.org",
        ])
        .args(args)
        .current_dir(folder)
        .output();
    let run = run.expect("these tests need the program `git` on PATH");
    assert!(
        run.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

impl World {
    fn new() -> World {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(world.repository()).unwrap();
        git(
            &world.repository(),
            &["init", "--quiet", "--initial-branch=main"],
        );
        world
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn commit(&self, name: &str, text: &[u8]) {
        let path = self.repository().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        git(&self.repository(), &["add", "--all"]);
        git(
            &self.repository(),
            &["commit", "--quiet", "--no-gpg-sign", "-m", "change"],
        );
    }

    fn config(&self) -> GitConfig {
        GitConfig {
            repository: Repository::parse(self.repository().to_str().unwrap()).unwrap(),
            branch: "main".to_owned(),
            subpath: "p".to_owned(),
            poll_interval: Duration::from_secs(1),
            signatures: Signatures::NotAsked,
        }
    }

    fn reader(&self, config: GitConfig) -> GitReader {
        GitReader::new(config, self.folder.path().join("data/policy-git"))
    }
}

fn texts(look: &Look) -> Vec<(&str, &str)> {
    let snapshot = look
        .snapshot
        .as_ref()
        .unwrap_or_else(|| panic!("{:?}", look.fault));
    let files = snapshot.files.iter();
    files
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect()
}

#[tokio::test]
async fn branch_is_followed_and_its_commit_named() {
    let world = World::new();
    world.commit("p/a.yaml", b"one");
    world.commit("elsewhere.yaml", b"not ours");
    let mut reader = world.reader(world.config());
    let look = reader.look(Reach::All).await;
    assert_eq!(texts(&look), [("p/a.yaml", "one")]);
    let first = look.snapshot.unwrap();
    assert_eq!(first.author, "Ann \u{c4} <ann@example.org>");
    assert_eq!(first.commit.as_deref(), Some(first.revision.as_str()));
    world.commit("p/x/b.yml", "zwei\n\u{f6}".as_bytes());
    let look = reader.look(Reach::All).await;
    assert_eq!(
        texts(&look),
        [("p/a.yaml", "one"), ("p/x/b.yml", "zwei\n\u{f6}")]
    );
    assert_ne!(look.snapshot.unwrap().revision, first.revision);
    // History rewritten: what the branch says now, counts.
    git(
        &world.repository(),
        &["reset", "--quiet", "--hard", "HEAD~2"],
    );
    world.commit("p/c.yaml", b"three");
    let look = reader.look(Reach::All).await;
    assert_eq!(texts(&look), [("p/a.yaml", "one"), ("p/c.yaml", "three")]);
}

#[tokio::test]
async fn mirror_serves_when_the_repository_is_gone() {
    let world = World::new();
    world.commit("p/a.yaml", b"one");
    world.reader(world.config()).look(Reach::All).await;
    fs::rename(world.repository(), world.folder.path().join("away")).unwrap();
    let mut reader = world.reader(world.config());
    let at_hand = reader.look(Reach::AtHand).await;
    assert_eq!(texts(&at_hand), [("p/a.yaml", "one")]);
    assert_eq!(at_hand.fault, None);
    let look = reader.look(Reach::All).await;
    assert_eq!(look.fault.as_ref().unwrap().code, "fetch_failed");
    assert_eq!(texts(&look), [("p/a.yaml", "one")]);
    // It is the mirror of that branch only.
    let mut other = world.reader(GitConfig {
        branch: "other".to_owned(),
        ..world.config()
    });
    let look = other.look(Reach::AtHand).await;
    assert!(look.snapshot.is_none() && look.fault.is_none());
}

#[tokio::test]
async fn lock_left_by_a_killed_git_does_not_last() {
    let world = World::new();
    world.commit("p/a.yaml", b"one");
    let mut reader = world.reader(world.config());
    reader.look(Reach::All).await;
    let mirror = world.folder.path().join("data/policy-git");
    for lock in [
        "shallow.lock".to_owned(),
        format!("{}.lock", reader.reference),
    ] {
        fs::write(mirror.join(lock), "").unwrap();
    }
    world.commit("p/a.yaml", b"two");
    assert_eq!(texts(&reader.look(Reach::All).await), [("p/a.yaml", "two")]);
}

#[tokio::test]
async fn broken_mirror_is_made_anew() {
    let world = World::new();
    world.commit("p/a.yaml", b"one");
    let mut reader = world.reader(world.config());
    reader.look(Reach::All).await;
    let mirror = world.folder.path().join("data/policy-git");
    fs::write(mirror.join("config"), "[core\nbroken").unwrap();
    assert!(
        world
            .reader(world.config())
            .look(Reach::All)
            .await
            .fault
            .is_some()
    );
    let look = world.reader(world.config()).look(Reach::All).await;
    assert_eq!(texts(&look), [("p/a.yaml", "one")]);
}

#[tokio::test]
async fn what_is_no_policy_text_is_told_by_file() {
    let world = World::new();
    let mut reader = world.reader(world.config());
    world.commit("README", b"nothing else");
    let look = reader.look(Reach::All).await;
    let fault = look.fault.unwrap();
    assert_eq!(fault.code, "no_policies");
    assert!(fault.message.contains("`p`") && fault.revision.is_some());
    world.commit("p/a.yaml", b"a\nb\n\xff");
    let fault = reader.look(Reach::All).await.fault.unwrap();
    assert_eq!(
        (
            fault.files[0].file.as_str(),
            fault.files[0].diagnostic.span.line
        ),
        ("p/a.yaml", 3)
    );
    world.commit("p/a.yaml", b"a");
    std::os::unix::fs::symlink("/etc/passwd", world.repository().join("p/b.yaml")).unwrap();
    world.commit("README", b"with a link");
    let fault = reader.look(Reach::All).await.fault.unwrap();
    assert_eq!(
        (fault.files[0].file.as_str(), fault.files[0].diagnostic.code),
        ("p/b.yaml", "not-a-file")
    );
}

#[tokio::test]
async fn hooks_of_the_user_are_not_run_and_missing_branches_are_told() {
    let world = World::new();
    world.commit("p/a.yaml", b"one");
    let mut reader = world.reader(GitConfig {
        branch: "gone".to_owned(),
        ..world.config()
    });
    let look = reader.look(Reach::All).await;
    let fault = look.fault.unwrap();
    assert_eq!(fault.code, "fetch_failed");
    assert!(fault.message.contains("gone"), "{}", fault.message);
    let hook = world
        .folder
        .path()
        .join("data/policy-git/hooks/reference-transaction");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    let ran = world.folder.path().join("ran");
    fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&hook, mode).unwrap();
    assert!(
        world
            .reader(world.config())
            .look(Reach::All)
            .await
            .fault
            .is_none()
    );
    assert!(!ran.exists());
}

#[tokio::test]
async fn credential_is_in_no_argument_and_no_message() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let repository = Repository::parse("http://bot:hunter2@127.0.0.1:1/r.git").unwrap();
    let config = GitConfig {
        repository,
        branch: "main".to_owned(),
        subpath: String::new(),
        poll_interval: Duration::from_secs(1),
        signatures: Signatures::NotAsked,
    };
    let mut reader = GitReader::new(config, folder.path().join("policy-git"));
    let fault = reader.look(Reach::All).await.fault.unwrap();
    let told = format!("{fault:?} {reader:?}");
    assert!(
        !told.contains("hunter2") && !told.contains("Basic"),
        "{told}"
    );
    let kept = fs::read_to_string(folder.path().join("policy-git/config")).unwrap();
    assert!(
        !kept.contains("bot") && !kept.contains("Authorization"),
        "{kept}"
    );
}

#[test]
fn committer_is_read_from_the_header_alone() {
    let text = "tree aa\nauthor B <b@x> 1 +0000\ncommitter A > C <a@x> 17 +0100\n\ncommitter no\n";
    assert_eq!(committer_in(text), "A > C <a@x>");
    assert_eq!(committer_in("tree aa\n\ncommitter A <a> 1"), "git");
    assert!(committer_in(&format!("committer {}<a> 1", "x".repeat(999))).len() <= MAX_AUTHOR);
}
