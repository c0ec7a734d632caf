//! Verification of files, and how fast it is made.

use super::*;

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

#[test]
fn lines_are_read_whole_wherever_blocks_end() {
    // Lines of every length around a block's end, the last without its line end.
    for length in [1, 1_000, BLOCK - 1, BLOCK, BLOCK + 1] {
        let long = "x".repeat(length);
        let (_folder, path) = file(format!("first\n{long}\n\nlast").as_bytes());
        let leaves: Vec<_> = read_lines(&path).unwrap().iter().map(|l| l.leaf).collect();
        let expected = ["first", &long, "", "last"];
        assert_eq!(leaves, expected.map(|line| LeafHash::of(line.as_bytes()).0));
    }
    let (_folder, path) = file(b"");
    assert_eq!(read_lines(&path).unwrap().len(), 0);
    let (_folder, path) = file(b"\n");
    assert_eq!(read_lines(&path).unwrap().len(), 1);
}

#[test]
fn key_is_a_text_or_a_file_of_several() {
    let key = |seed| {
        let signer = jupiter_evidence::tree::NoteSigner::new("mercator/test", &[seed; 32]);
        signer.unwrap().verifier()
    };
    let text = key(1).to_string();
    assert_eq!(read_keys(Some(&text)).unwrap(), [key(1)]);
    let (_folder, path) = file(format!("{text}\n\n{}\n", key(2)).as_bytes());
    let keys = read_keys(path.to_str()).unwrap();
    assert_eq!(keys, [key(1), key(2)]);
    let (_folder, path) = file(b"PRIVATE+KEY+no\n");
    let refused = read_keys(path.to_str()).unwrap_err().to_string();
    assert!(!refused.contains("PRIVATE"), "{refused}");
}
