//! `docs/reference/cli.md` says what the command says of itself.
//!
//! `just bless` (`MERCATOR_BLESS=1`) rewrites it for review.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails its test")]

use std::path::Path;
use std::process::{Command, Stdio};

const HEAD: &str = "\
# The `mercator` command

What the command says of itself, compared in a test; `just bless` rewrites it.

Results go to stdout, everything else to stderr. Exit codes, the same for every command:

| Code | Meaning |
| --- | --- |
| 0 | yes: done, valid, allowed |
| 1 | no: refused, invalid, not there |
| 2 | could not tell: wrong usage, nobody answers, not allowed to ask |

Environment: `MERCATOR_SERVER`, `MERCATOR_TOKEN` and `MERCATOR_CONFIG` stand for the options of those names; \
`MERCATOR_LOG`, else `RUST_LOG`, sets how much is logged (`info`, `debug`, `info,hyper=warn`); `NO_COLOR` switches colour off; \
`MERCATOR_<SECTION>__<KEY>` overrides single keys of the configuration; the `OTEL_*` variables of \
`docs/guides/opentelemetry.md` make `mercator run` export telemetry.
";

fn help(command: &[String]) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mercator"));
    // The width and the values of the one who runs the test are not the command's.
    for (name, _) in std::env::vars_os() {
        if name == "COLUMNS" || name.to_string_lossy().starts_with("MERCATOR_") {
            child.env_remove(name);
        }
    }
    let output = child
        .args(command)
        .arg("--help")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// The commands below one, as its help lists them.
fn commands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| {
        let name = line.strip_prefix("  ").filter(|it| !it.starts_with(' '))?;
        name.split_whitespace().next()
    });
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// A section for a command, and for each below it.
fn sections(command: &[String]) -> String {
    let name = [&["mercator".to_owned()], command].concat().join(" ");
    let help = help(command);
    let own = format!("\n## `{name}`\n\n```text\n{}\n```\n", help.trim());
    let below = commands(&help).into_iter();
    let below = below.map(|name| sections(&[command, &[name]].concat()));
    own + &below.collect::<String>()
}

#[test]
fn reference_says_what_the_command_says_of_itself() {
    let expected = HEAD.to_owned() + &sections(&[]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/reference/cli.md is not what the command says of itself; `just bless` rewrites it"
    );
}
