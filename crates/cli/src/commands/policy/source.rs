//! Where policies come from.

use super::field;
use crate::client::Client;
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use serde_json::Value;

/// "No" when what the source holds is not in force.
pub(super) async fn show(client: &Client, format: Format) -> Result<Answer, Failure> {
    let source = client.get(&["v1", "policies", "source"], &[]).await?;
    let error = source.get("error").filter(|error| !error.is_null());
    match format {
        Format::Json => output::print_json(&source),
        Format::Text => output::print(&told(&source, error)),
    }
    Ok(match error {
        None => Answer::Yes,
        Some(_) => Answer::No,
    })
}

fn told(source: &Value, error: Option<&Value>) -> String {
    let of = |name| output::plain(&field(source, name));
    let mut text = format!("source        {}\n", of("source"));
    for (title, value) in [
        ("in force", of("revision")),
        ("last success", output::when(&of("last_success_at"))),
        ("last attempt", output::when(&of("last_attempt_at"))),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("{title:<12}  {value}\n"));
        }
    }
    let Some(error) = error else {
        return text;
    };
    let of = |name| output::plain(&field(error, name));
    text.push_str(&format!(
        "error         {} ({})\n",
        of("message"),
        of("code")
    ));
    let diagnostics = error.get("diagnostics").and_then(Value::as_array);
    for diagnostic in diagnostics.into_iter().flatten() {
        text.push_str(&format!("  {}\n", place_and_message(diagnostic)));
    }
    text
}

/// `file:line:column: message (code)`, as editors find it.
fn place_and_message(diagnostic: &Value) -> String {
    let of = |name| output::plain(&field(diagnostic, name));
    let span = diagnostic.get("span").unwrap_or(&Value::Null);
    let (line, column) = (field(span, "line"), field(span, "column"));
    let (file, message, code) = (of("file"), of("message"), of("code"));
    format!("{file}:{line}:{column}: {message} ({code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let source = json!({
            "source": "git", "revision": "c0ffee", "commit": "c0ffee",
            "last_success_at": "2026-11-23T17:09:05.123456Z", "last_attempt_at": null,
            "error": {
                "code": "invalid_policies", "message": "policies have errors", "revision": "decaf",
                "diagnostics": [{
                    "file": "p/a.yaml", "code": "unknown-field", "message": "no such\u{1b} field",
                    "severity": "error", "span": {"line": 8, "column": 3},
                }],
            },
        });
        assert_eq!(
            told(&source, source.get("error")),
            "source        git\n\
             in force      c0ffee\n\
             last success  2026-11-23 17:09:05\n\
             error         policies have errors (invalid_policies)\n\
             \x20 p/a.yaml:8:3: no such\u{fffd} field (unknown-field)\n"
        );
        let api = json!({"source": "api", "error": null});
        assert_eq!(told(&api, None), "source        api\n");
    }
}
