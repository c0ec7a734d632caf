//! `mercator token`: who may use the admin API, as what.

use crate::client::{Client, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Create a token and print it, this once
    Create {
        /// Whose it is or what it is for, such as ci or grafana
        name: String,
        /// admin: everything; author: policies; auditor: reads; emitter: delivers evidence
        #[arg(long, value_parser = ["admin", "author", "auditor", "emitter"], hide_possible_values = true)]
        role: String,
    },
    /// List tokens, never their text
    List,
    /// Revoke a token for good
    Revoke { id: String },
}

pub async fn run(args: TokenArgs, format: Format) -> Result<Answer, Failure> {
    let client = args.server.client()?;
    match args.command {
        TokenCommand::Create { name, role } => create(&client, &name, &role, format).await,
        TokenCommand::List => list(&client, format).await,
        TokenCommand::Revoke { id } => revoke(&client, &id, format).await,
    }
}

async fn create(
    client: &Client,
    name: &str,
    role: &str,
    format: Format,
) -> Result<Answer, Failure> {
    let body = json!({"name": name, "role": role});
    let created = client.post(&["v1", "tokens"], &body).await?;
    match format {
        Format::Json => output::print_json(&created),
        Format::Text => {
            let token = created.get("token").and_then(Value::as_str);
            let token = token.ok_or_else(|| Failure::new("the control plane sent no token"))?;
            output::print(token);
            output::say(&format!(
                "this token, `{}` with role {role}, is shown only now",
                output::plain(name)
            ));
        }
    }
    Ok(Answer::Yes)
}

async fn list(client: &Client, format: Format) -> Result<Answer, Failure> {
    let listed = client.get(&["v1", "tokens"], &[]).await?;
    if format == Format::Json {
        output::print_json(&listed);
        return Ok(Answer::Yes);
    }
    let mut table = Table::new(&[
        Column::left("name").may_cut(),
        Column::left("role"),
        Column::left("state"),
        Column::left("created"),
        Column::left("id"),
    ]);
    let tokens = listed.get("tokens").and_then(Value::as_array);
    for token in tokens.into_iter().flatten() {
        let of = |name| {
            let value = token.get(name).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let state = match of("revoked_at").is_empty() {
            true => "valid",
            false => "revoked",
        };
        table.row([
            of("name"),
            of("role"),
            state.to_owned(),
            output::when(&of("created_at")),
            of("id"),
        ]);
    }
    output::print(&table.for_stdout(0));
    Ok(Answer::Yes)
}

async fn revoke(client: &Client, id: &str, format: Format) -> Result<Answer, Failure> {
    client.delete(&["v1", "tokens", id]).await?;
    match format {
        Format::Json => output::print_json(&json!({"revoked": id})),
        Format::Text => output::print(&format!("token {id} is revoked")),
    }
    Ok(Answer::Yes)
}
