//! `mercator fake-provider`: answers as OpenAI and Anthropic do, without a model.
//!
//! What it answers and how it can be told to misbehave is
//! `jupiter_testkit::fake_provider`.

use crate::exit::{Answer, Failure};
use crate::logging::{self, LogArgs};
use crate::output;
use crate::quickstart::stop_signal;
use jupiter_control_plane::telemetry::Telemetry;
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[derive(Debug, clap::Args)]
pub struct FakeProviderArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    #[command(flatten)]
    log: LogArgs,
}

pub async fn run(args: FakeProviderArgs) -> Result<Answer, Failure> {
    logging::start(args.log, "info", &Telemetry::default())?;
    let stop = stop_signal()?;
    let cannot_listen = |e: std::io::Error| {
        Failure::new(format!(
            "the fake provider cannot listen on {}: {e}",
            args.listen
        ))
        .help("choose another address with `--listen ADDR`")
    };
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    output::say(&format!(
        "fake provider: OpenAI at http://{address}/v1, Anthropic at http://{address}"
    ));
    jupiter_testkit::fake_provider::serve(listener, stop.cancelled_owned())
        .await
        .map_err(|e| Failure::new(format!("the fake provider stopped: {e}")))?;
    Ok(Answer::Yes)
}
