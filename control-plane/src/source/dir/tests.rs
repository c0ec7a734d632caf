//! A folder as it is found.

use super::*;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn names(look: &Look) -> Vec<&str> {
    let snapshot = look.snapshot.as_ref().expect("a snapshot");
    snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect()
}

#[tokio::test]
async fn policies_are_found_at_any_depth_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "b.yaml",
        "a/c.yml",
        "README.md",
        ".hidden.yaml",
        "..data/x.yaml",
        "a/c_test.yaml",
    ] {
        write(folder.path(), name, name);
    }
    std::os::unix::fs::symlink("a/c.yml", folder.path().join("z.yaml")).unwrap();
    let look = DirReader::new(folder.path().to_owned()).look().await;
    assert_eq!(names(&look), ["a/c.yml", "b.yaml", "z.yaml"]);
    assert_eq!(look.snapshot.unwrap().commit, None);
}

#[tokio::test]
async fn change_counts_when_it_is_seen_twice() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yaml", "1");
    let mut reader = DirReader::new(folder.path().to_owned());
    let first = reader.look().await.snapshot.unwrap().revision;
    assert_eq!(reader.look().await.snapshot.unwrap().revision, first);
    for text in ["2", "22"] {
        write(folder.path(), "a.yaml", text);
        let unsettled = reader.look().await;
        assert!(unsettled.snapshot.is_none() && unsettled.fault.is_none());
    }
    let settled = reader.look().await.snapshot.unwrap();
    assert_ne!(settled.revision, first);
    assert_eq!(settled.files[0].text, "22");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_nothing_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let look = DirReader::new(missing).look().await;
    assert_eq!(look.fault.unwrap().code, "unreadable");

    write(folder.path(), "good.yaml", "text");
    fs::write(folder.path().join("bad.yaml"), b"a: 1\n\xff").unwrap();
    let look = DirReader::new(folder.path().to_owned()).look().await;
    assert!(look.snapshot.is_none());
    let fault = look.fault.unwrap();
    assert_eq!(
        (
            fault.files[0].file.as_str(),
            fault.files[0].diagnostic.span.line
        ),
        ("bad.yaml", 2)
    );
    fs::remove_file(folder.path().join("bad.yaml")).unwrap();

    // Opening a pipe would wait for its writer for ever.
    let pipe = folder.path().join("pipe.yaml");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let look = DirReader::new(folder.path().to_owned()).look().await;
    assert!(look.fault.unwrap().message.contains("pipe.yaml"));
    fs::remove_file(pipe).unwrap();

    std::os::unix::fs::symlink("nowhere", folder.path().join("link.yaml")).unwrap();
    let look = DirReader::new(folder.path().to_owned()).look().await;
    assert!(look.fault.unwrap().message.contains("link.yaml"));
}

#[test]
fn digest_tells_apart_what_only_looks_alike() {
    let one = |path: &str, text: &str| vec![(path.to_owned(), text.as_bytes().to_vec())];
    assert_eq!(digest(&one("a", "bc")), digest(&one("a", "bc")));
    assert_ne!(digest(&one("a", "bc")), digest(&one("ab", "c")));
}
