//! `mercator demo`: the main job in one minute, checked as it is shown.
//!
//! An instance of its own, with a folder that is removed again and a fake
//! provider, so that nothing is spent and nothing is left. It makes an allowed
//! call, a refused one and a streamed one through Envoy and looks at the
//! evidence of each. The answer is yes only if all of it held.

mod calls;
mod checks;
mod show;

use crate::exit::{Answer, Failure};
use crate::logging::{self, LogArgs};
use crate::output::{self, Format};
use crate::quickstart::{self, Running};
use calls::Exchange;
use jupiter_control_plane::config::Config;
use jupiter_control_plane::telemetry::Telemetry;
use jupiter_testkit::fake_provider::FakeProvider;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Evidence leaves every tenth of a second; a busy machine may be slower.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    log: LogArgs,
}

/// Everything that happened, for showing and for judging.
#[derive(Debug)]
struct Story {
    allowed: Exchange,
    refused: Exchange,
    streamed: Exchange,
    /// Records of the three, in this order, as far as they arrived.
    records: Vec<Option<Value>>,
    emitters: Vec<Value>,
    /// Bodies of the chat requests that reached the provider.
    reached_provider: Vec<String>,
    digest: String,
}

pub async fn run(args: DemoArgs, format: Format) -> Result<Answer, Failure> {
    logging::start(args.log, "warn", &Telemetry::default())?;
    let folder = tempfile::Builder::new()
        .prefix("mercator-demo-")
        .tempdir()
        .map_err(|e| Failure::new(format!("no temporary folder: {e}")))?;
    let mut config = quickstart::load_quickstart_config(None)?;
    config.data_dir = folder.path().to_owned();
    choose_ports(&mut config)?;
    let stop = quickstart::stop_signal()?;
    let fake = quickstart::fake_provider(&mut config, |_| true).await?;
    let Some(running) = quickstart::start(config, Telemetry::default(), stop).await? else {
        return Err(Failure::new("stopped before anything was shown"));
    };

    let told = tell(&running, &fake, format).await;
    let held = match &told {
        Ok(story) => {
            let checks = checks::judge(story);
            show::verdict(story, &checks, format);
            checks.iter().all(|check| check.held)
        }
        Err(_) => false,
    };
    let ended = running.end().await;
    if !held {
        let kept = folder.keep();
        output::say(&format!("logs and data are kept in {}", kept.display()));
    }
    told?;
    ended?;
    Ok(if held { Answer::Yes } else { Answer::No })
}

/// Makes the calls, showing each as it is made, and collects their evidence.
async fn tell(running: &Running, fake: &FakeProvider, format: Format) -> Result<Story, Failure> {
    show::opening(running, format);
    let url = format!("{}{}", running.traffic_url(), quickstart::CHAT_PATH);
    let allowed = calls::call(&running.http, &url, quickstart::ALLOWED).await?;
    show::exchange(1, "A call that the policy allows", &allowed, format);
    let refused = calls::call(&running.http, &url, quickstart::REFUSED).await?;
    show::exchange(2, "A call that it refuses", &refused, format);
    let streamed = calls::stream(&running.http, &url, quickstart::STREAMED).await?;
    show::exchange(3, "A streamed call", &streamed, format);

    let records = evidence(running, &[&allowed, &refused, &streamed]).await?;
    let listed = running.admin.get(&["v1", "emitters"], &[]).await?;
    let emitters = listed.get("emitters").and_then(Value::as_array);
    let reached_provider = fake
        .received()
        .iter()
        .filter(|request| request.route() == quickstart::CHAT_PATH)
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    Ok(Story {
        allowed,
        refused,
        streamed,
        records,
        emitters: emitters.cloned().unwrap_or_default(),
        reached_provider,
        digest: running.digest.clone(),
    })
}

/// The records of these exchanges; it waits for them, but not forever.
async fn evidence(
    running: &Running,
    exchanges: &[&Exchange],
) -> Result<Vec<Option<Value>>, Failure> {
    let until = Instant::now() + EVIDENCE_WITHIN;
    loop {
        let page = running.admin.get(&["v1", "evidence"], &[]).await?;
        let records = page.get("records").and_then(Value::as_array);
        let found: Vec<Option<Value>> = exchanges
            .iter()
            .map(|exchange| {
                let same = |r: &&Value| {
                    r.get("id").and_then(Value::as_str) == exchange.decision_id.as_deref()
                };
                records.and_then(|all| all.iter().find(same)).cloned()
            })
            .collect();
        if found.iter().all(Option::is_some) || Instant::now() > until {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The usual ports where they are free, else others; loopback only.
fn choose_ports(config: &mut Config) -> Result<(), Failure> {
    let mut taken = Vec::new();
    for listen in [
        &mut config.envoy.listen,
        &mut config.envoy.admin,
        &mut config.admin.listen,
        &mut config.metrics.listen,
    ] {
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, listen.port()));
        // Held until all are chosen, so that no port is given out twice.
        let held = TcpListener::bind(usual)
            .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .and_then(|socket| Ok((socket.local_addr()?, socket)));
        match held {
            Ok((address, socket)) => {
                *listen = address;
                taken.push(socket);
            }
            Err(e) => return Err(Failure::new(format!("no free port on loopback: {e}"))),
        }
    }
    Ok(())
}
