//! `mercator policy`: the policies in force at a control plane.

use crate::client::{Client, ClientError, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde_json::{Value, json};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// List the policies in force
    List,
    /// Print a policy's text
    Show { name: String },
    /// Put a policy in force; the one of its name is replaced
    Put {
        /// The policy's file, or `-` for stdin
        file: PathBuf,
    },
    /// Take a policy out of force
    Delete { name: String },
}

pub async fn run(args: PolicyArgs, format: Format) -> Result<Answer, Failure> {
    // A policy that is not valid needs no server to be told so.
    let put = match &args.command {
        PolicyCommand::Put { file } => match super::lint::accepted(file, format)? {
            Some(accepted) => Some(accepted),
            None => return Ok(Answer::No),
        },
        _ => None,
    };
    let client = args.server.client()?;
    match (args.command, put) {
        (PolicyCommand::List, _) => list(&client, format).await,
        (PolicyCommand::Show { name }, _) => show(&client, &name, format).await,
        (PolicyCommand::Delete { name }, _) => delete(&client, &name, format).await,
        (PolicyCommand::Put { .. }, Some((name, text))) => {
            put_in_force(&client, &name, text, format).await
        }
        (PolicyCommand::Put { .. }, None) => Ok(Answer::No),
    }
}

async fn list(client: &Client, format: Format) -> Result<Answer, Failure> {
    let listed = client.get(&["v1", "policies"], &[]).await?;
    if format == Format::Json {
        output::print_json(&listed);
        return Ok(Answer::Yes);
    }
    let policies = listed.get("policies").and_then(Value::as_array);
    let policies = policies.map(Vec::as_slice).unwrap_or_default();
    if policies.is_empty() {
        output::say(
            "no policy is in force, so every call is refused; `mercator policy put FILE` adds one",
        );
        return Ok(Answer::Yes);
    }
    let mut table = Table::new(&[
        Column::left("name"),
        Column::left("version"),
        Column::right("revision"),
        Column::left("since"),
        Column::left("by").may_cut(),
        Column::left("description").may_cut(),
    ]);
    for policy in policies {
        let of = |name| field(policy, name);
        table.row([
            of("name"),
            of("version"),
            of("revision"),
            output::when(&of("created_at")),
            of("author"),
            of("description"),
        ]);
    }
    output::print(&table.for_stdout(0));
    Ok(Answer::Yes)
}

async fn show(client: &Client, name: &str, format: Format) -> Result<Answer, Failure> {
    let policy = client.get(&["v1", "policies", name], &[]).await?;
    match format {
        Format::Json => output::print_json(&policy),
        Format::Text => output::print(&field(&policy, "source")),
    }
    Ok(Answer::Yes)
}

async fn put_in_force(
    client: &Client,
    name: &str,
    text: String,
    format: Format,
) -> Result<Answer, Failure> {
    let path = ["v1", "policies", name];
    let answered = client
        .put(&path, "application/yaml", text.into_bytes())
        .await;
    if let (Err(ClientError::Refused(problem)), Format::Json) = (&answered, format) {
        output::print_json(&problem.document);
    }
    let put = answered?;
    match format {
        Format::Json => output::print_json(&put),
        Format::Text => output::print(&format!(
            "policy `{name}` {} is in force; the bundle is now {}",
            output::plain(&field(&put, "version")),
            output::plain(&field(&put, "bundle_digest"))
        )),
    }
    Ok(Answer::Yes)
}

async fn delete(client: &Client, name: &str, format: Format) -> Result<Answer, Failure> {
    client.delete(&["v1", "policies", name]).await?;
    let digest = client.bundle_digest().await?;
    match (format, digest) {
        (Format::Json, digest) => {
            output::print_json(&json!({"deleted": name, "bundle_digest": digest}));
        }
        (Format::Text, Some(digest)) => output::print(&format!(
            "policy `{name}` is no longer in force; the bundle is now {}",
            output::plain(&digest)
        )),
        (Format::Text, None) => output::print(&format!(
            "policy `{name}` is no longer in force; no policy is left, so every call is refused"
        )),
    }
    Ok(Answer::Yes)
}

/// A field as text, whatever its type; empty when it is not there.
fn field(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
