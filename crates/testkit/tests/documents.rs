//! The documents and the layering tell the truth.
//!
//! Every path that a document names exists, and each library is named only in
//! the folder that ARCHITECTURE.md gives it to.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(under: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(under) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
            files(&path, ending, found);
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
}

/// What stands between backquotes and looks like a path of this project.
fn named_paths(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|quoted| {
            let plain = quoted
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
            let top = quoted.split('/').next().unwrap_or_default();
            let ours = [
                "crates",
                "filter",
                "control-plane",
                "envoy",
                "tests",
                "k8s",
                "docs",
                "examples",
                "scripts",
                "fuzz",
                ".ci",
                ".cargo",
            ];
            plain && quoted.contains('/') && ours.contains(&top)
        })
}

#[test]
fn every_path_a_document_names_exists() {
    let root = root();
    let mut documents = vec![];
    files(&root.join("docs"), ".md", &mut documents);
    for name in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "k8s/README.md",
    ] {
        documents.push(root.join(name));
    }
    let mut missing = vec![];
    let mut named = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|e| panic!("{document:?}: {e}"));
        for path in named_paths(&text) {
            named += 1;
            if !root.join(path).exists() {
                missing.push(format!("{}: `{path}`", document.display()));
            }
        }
    }
    assert!(
        named > 40,
        "only {named} paths found: are they still written in backquotes?"
    );
    assert!(
        missing.is_empty(),
        "documents name what does not exist:\n{}",
        missing.join("\n")
    );
}

#[test]
fn each_library_is_named_only_where_it_belongs() {
    let root = root();
    for (word, sources, allowed) in [
        ("extern \"C\"", "filter/src", &["filter/src/host/"][..]),
        (
            "axum::",
            "control-plane/src",
            &["control-plane/src/api/", "control-plane/src/run.rs"],
        ),
        ("sqlx::", "control-plane/src", &["control-plane/src/store/"]),
        (
            "opentelemetry",
            "control-plane/src",
            &["control-plane/src/telemetry/"],
        ),
    ] {
        let mut found = vec![];
        files(&root.join(sources), ".rs", &mut found);
        assert!(!found.is_empty(), "{sources} holds no sources");
        for file in found {
            let inside = file
                .strip_prefix(&root)
                .unwrap_or(&file)
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(&file).unwrap_or_default();
            let for_tests = inside.ends_with("tests.rs") || inside.ends_with("testing.rs");
            let belongs = for_tests || allowed.iter().any(|folder| inside.starts_with(folder));
            assert!(belongs || !text.contains(word), "{inside} names `{word}`");
        }
    }
}

#[test]
fn cores_have_no_io_clock_or_randomness() {
    let root = root();
    for core in ["policy", "provider", "detect", "evidence", "tokens"] {
        let mut found = vec![];
        files(
            &root.join("crates").join(core).join("src"),
            ".rs",
            &mut found,
        );
        assert!(!found.is_empty(), "crates/{core} holds no sources");
        for file in found {
            let text = fs::read_to_string(&file).unwrap_or_default();
            let shipped = text.split("[cfg(test)]").next().unwrap_or_default();
            for word in [
                "std::fs",
                "std::net",
                "std::time",
                "std::thread",
                "async fn",
                " rand::",
            ] {
                assert!(!shipped.contains(word), "{} names `{word}`", file.display());
            }
        }
    }
}

/// The rows that `docs/seed-checklist.md` has to have.
const SEED_ROWS: [std::ops::RangeInclusive<u32>; 7] = [
    12..=33,
    40..=46,
    48..=49,
    55..=55,
    57..=57,
    62..=66,
    67..=67,
];

#[test]
fn every_row_of_the_seeds_checklist_names_a_test_or_a_command_that_exists() {
    let root = root();
    let text = fs::read_to_string(root.join("docs/seed-checklist.md")).unwrap();
    let justfile = fs::read_to_string(root.join("justfile")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let number: u32 = cells.next()?.parse().ok()?;
        Some((number, cells.last()?.to_owned()))
    });
    let mut numbers = vec![];
    for (number, held_by) in rows {
        numbers.push(number);
        let mut file = None;
        let mut named = 0;
        for word in held_by.split('`').skip(1).step_by(2) {
            if let Some(command) = word.strip_prefix("./justw ") {
                let recipe = format!("\n{}", command.split(' ').next().unwrap_or_default());
                let known = [":", " "]
                    .iter()
                    .any(|end| justfile.contains(&format!("{recipe}{end}")));
                assert!(known, "row {number}: no recipe `{command}`");
                named += 1;
            } else if word.ends_with(".rs") {
                let source = fs::read_to_string(root.join(word));
                file = Some(source.unwrap_or_else(|e| panic!("row {number}: `{word}`: {e}")));
            } else if let Some(source) = &file {
                let test = format!("fn {word}(");
                assert!(source.contains(&test), "row {number}: no test `{word}`");
                named += 1;
            }
        }
        assert!(named > 0, "row {number} names neither a test nor a command");
    }
    let due: Vec<u32> = SEED_ROWS.into_iter().flatten().collect();
    assert_eq!(numbers, due);
}
