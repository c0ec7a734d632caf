//! The policy files in a commit's tree.

use std::time::Duration;

use super::fault_of;
use super::program::Git;
use crate::publish::set::{FileFault, PolicyFile};
use crate::source::SourceFault;
use crate::source::files::{self, MAX_FILE_BYTES, MAX_FILES, MAX_TOTAL_BYTES};

/// An entry of the tree that is named as a policy is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: String,
    object: String,
    /// A file rather than a link.
    is_file: bool,
    bytes: u64,
}

/// All policy files below `subpath`, by path.
pub(super) async fn read(
    git: &Git,
    commit: &str,
    subpath: &str,
    within: Duration,
) -> Result<Vec<PolicyFile>, SourceFault> {
    let folder = format!("{subpath}/");
    let mut list = vec!["ls-tree", "-r", "-z", "-l", "--full-tree", commit];
    if !subpath.is_empty() {
        list.extend(["--", folder.as_str()]);
    }
    let listed = git.run(&list, within).await;
    let listed = listed.map_err(|error| fault_of("tree of the commit", &error))?;
    let entries = entries(&listed, subpath);
    if entries.is_empty() {
        let place = match subpath {
            "" => "the repository".to_owned(),
            subpath => format!("`{subpath}`"),
        };
        let message = format!(
            "there is no policy file (`*.yaml`, `*.yml`) in {place}, and without a policy \
             everything would be refused"
        );
        return Err(SourceFault::new("no_policies", message));
    }
    check_sizes(&entries)?;
    let input: String = entries
        .iter()
        .map(|entry| format!("{}\n", entry.object))
        .collect();
    let contents = git
        .run_with(&["cat-file", "--batch"], input.into_bytes(), within)
        .await;
    let contents = contents.map_err(|error| fault_of("files of the commit", &error))?;
    let blobs = blobs(&contents)
        .filter(|blobs| blobs.len() == entries.len())
        .ok_or_else(|| SourceFault::new("unreadable", "the mirror lacks files of the commit"))?;
    files::texts(entries.into_iter().map(|entry| entry.path).zip(blobs))
}

/// Reads `<mode> <type> <object> <size>\t<path>` of each entry.
fn entries(listed: &[u8], subpath: &str) -> Vec<Entry> {
    let depth = |path: &str| path.strip_prefix(subpath).unwrap_or(path).to_owned();
    let entries = listed.split(|byte| *byte == 0).filter_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (about, path) = line.split_once('\t')?;
        let mut about = about.split_ascii_whitespace();
        let (mode, kind) = (about.next()?, about.next()?);
        let (object, size) = (about.next()?, about.next()?);
        let below = depth(path);
        let mut parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.pop()?;
        let is_hidden = parts.into_iter().any(files::is_hidden);
        (kind == "blob" && !is_hidden && files::is_policy(name)).then(|| Entry {
            path: path.to_owned(),
            object: object.to_owned(),
            is_file: mode.starts_with("100"),
            bytes: size.parse().unwrap_or(0),
        })
    });
    entries.collect()
}

/// Before anything is read of it.
fn check_sizes(entries: &[Entry]) -> Result<(), SourceFault> {
    let too_large = |message: String| Err(SourceFault::new("too_large", message));
    if entries.len() > MAX_FILES {
        return too_large(format!("there are more than {MAX_FILES} policy files"));
    }
    let total = entries
        .iter()
        .fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
    if total > MAX_TOTAL_BYTES {
        return too_large(format!(
            "the policy files have more than {MAX_TOTAL_BYTES} bytes"
        ));
    }
    let fault = |entry: &Entry| {
        let (code, message) = match entry.is_file {
            false => (
                "not-a-file",
                "a link is not followed: put the policy itself here",
            ),
            true if entry.bytes >= MAX_FILE_BYTES => ("text-too-large", "larger than 1 MiB"),
            true => return None,
        };
        Some(files::fault(entry.path.clone(), 1, code, message))
    };
    let faults: Vec<FileFault> = entries.iter().filter_map(fault).collect();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(files::faulty(faults)),
    }
}

/// Contents in the order asked for: `<object> blob <size>\n<content>\n` each.
/// `None` when something else stands there.
fn blobs(mut text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut blobs = Vec::new();
    while !text.is_empty() {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = text.split_at_checked(end)?;
        let head = String::from_utf8_lossy(head);
        let mut head = head.split(' ').skip(1);
        if head.next()? != "blob" {
            return None;
        }
        let size: usize = head.next()?.parse().ok()?;
        let content = rest.get(1..)?;
        let (blob, rest) = content.split_at_checked(size)?;
        blobs.push(blob.to_vec());
        text = rest.strip_prefix(b"\n")?;
    }
    Some(blobs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_is_reduced_to_policies() {
        let listed = b"100644 blob aa      12\tp/a.yaml\x00100755 blob bb       0\tp/x/b.yml\0\
            120000 blob cc       5\tp/link.yaml\x00100644 blob dd      12\tp/.github/c.yaml\0\
            160000 commit ee       -\tp/sub.yaml\x00100644 blob ff      12\tp/README.md\0\
            100644 blob 99      12\tp/a_test.yaml\0nonsense\0";
        let entries = entries(listed, "p");
        let told: Vec<_> = entries
            .iter()
            .map(|e| (e.path.as_str(), e.is_file, e.bytes))
            .collect();
        assert_eq!(
            told,
            [
                ("p/a.yaml", true, 12),
                ("p/x/b.yml", true, 0),
                ("p/link.yaml", false, 5)
            ]
        );
        let Err(fault) = check_sizes(&entries) else {
            panic!("a link was taken");
        };
        assert_eq!(fault.files[0].file, "p/link.yaml");
    }

    #[test]
    fn contents_are_taken_by_their_size() {
        let text = b"aa blob 3\na\nb\nbb blob 0\n\n";
        assert_eq!(blobs(text), Some(vec![b"a\nb".to_vec(), Vec::new()]));
        for broken in [
            &b"aa missing\n"[..],
            b"aa blob 9\nabc\n",
            b"aa blob x\n",
            b"aa",
            b"aa blob 1\nab",
        ] {
            assert_eq!(blobs(broken), None);
        }
    }
}
