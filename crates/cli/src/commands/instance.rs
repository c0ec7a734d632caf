//! `mercator instance`: in and out of rotation.

use crate::client::{Client, ServerArgs};
use crate::exit::{Answer, Failure};
use crate::output::{self, Format};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How often exchanges in flight are counted.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, clap::Args)]
pub struct InstanceArgs {
    #[command(subcommand)]
    command: InstanceCommand,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, clap::Subcommand)]
enum InstanceCommand {
    /// Say whether it asks for traffic, and how many exchanges it has in hand
    Status,
    /// Have load balancers send it nothing new; all that comes is still served
    Drain {
        /// Wait until nothing is in flight, so many seconds at most; exit code 1 if something still is
        #[arg(long, value_name = "SECONDS")]
        wait: Option<u64>,
    },
    /// Ask for traffic again
    Undrain,
}

pub async fn run(args: InstanceArgs, format: Format) -> Result<Answer, Failure> {
    let client = args.server.client()?;
    let instance = match &args.command {
        InstanceCommand::Status => client.get(&["v1", "instance"], &[]).await?,
        InstanceCommand::Drain { .. } => tell(&client, "drain").await?,
        InstanceCommand::Undrain => tell(&client, "undrain").await?,
    };
    let (instance, answer) = match args.command {
        InstanceCommand::Drain { wait: Some(wait) } => {
            until_idle(&client, instance, Duration::from_secs(wait)).await?
        }
        _ => (instance, Answer::Yes),
    };
    match format {
        Format::Json => output::print_json(&instance),
        Format::Text => output::print(&told(&instance)),
    }
    Ok(answer)
}

async fn tell(client: &Client, what: &str) -> Result<Value, Failure> {
    Ok(client.post(&["v1", "instance", what], &json!({})).await?)
}

async fn until_idle(
    client: &Client,
    mut instance: Value,
    wait: Duration,
) -> Result<(Value, Answer), Failure> {
    let began = Instant::now();
    while in_flight(&instance) != Some(0) {
        if began.elapsed() >= wait {
            return Ok((instance, Answer::No));
        }
        tokio::time::sleep(LOOK_EVERY).await;
        instance = client.get(&["v1", "instance"], &[]).await?;
    }
    Ok((instance, Answer::Yes))
}

fn in_flight(instance: &Value) -> Option<u64> {
    instance.get("in_flight").and_then(Value::as_u64)
}

fn told(instance: &Value) -> String {
    let standing = instance.get("standing").and_then(Value::as_str);
    let standing = output::plain(standing.unwrap_or("unknown"));
    match in_flight(instance) {
        Some(1) => format!("{standing}, 1 exchange in flight"),
        Some(count) => format!("{standing}, {count} exchanges in flight"),
        None => format!("{standing}; Envoy could not be asked what is in flight"),
    }
}
