//! `mercator benchmark` beside wrk and h2load: how fast it can send, whether it
//! measures the same, and what a stalled server looks like in each.
//!
//! `./justw bench load [SECONDS]`. Clients run on one core, servers on another, taking
//! turns; of three rounds the fastest counts, which was disturbed least. It fails when one
//! of these does not hold: half of wrk's rate where the client is the limit; the rate and
//! the latency of both within 10 % where the server is; a stall as long as it was.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement"
)]

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep_until};

const CLIENT_CORE: &str = "0";
const SERVER_CORE: &str = "1";
const CONNECTIONS: &str = "16";
const ROUNDS: usize = 3;
/// How far numbers of two programs may be apart where they measure the same.
const AGREES: f64 = 0.1;
/// What a server can do that all three can saturate, whoever else uses this machine.
const CAPACITY: &str = "2000";
/// Timers are no finer.
const TICK: Duration = Duration::from_millis(1);
/// When a server stands still, and for how long.
const STALL_AFTER: u32 = 2;
const STALL: u32 = 2;
const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";

/// What one run of one program measured.
#[derive(Debug, Clone, Copy)]
struct Seen {
    per_second: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
    mean: f64,
}

/// What had to hold.
#[derive(Default)]
struct Verdict {
    missed: bool,
}

impl Verdict {
    fn must(&mut self, what: &str, held: bool) {
        println!("  {} {what}", if held { "ok    " } else { "MISSED" });
        self.missed |= !held;
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, serve, per_second, address] = arguments.as_slice()
        && serve == "serve"
    {
        serve_static(address.parse().unwrap(), per_second.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    let seconds = arguments
        .iter()
        .find_map(|a| a.parse::<u32>().ok())
        .unwrap_or(3);
    for program in ["taskset", "wrk", "h2load"] {
        assert!(
            Command::new(program).arg("--version").output().is_ok(),
            "`{program}` is needed: apt-get install util-linux wrk nghttp2-client"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let body = r#"{"max_completion_tokens":64,"messages":[{"content":"The quick brown fox jumps over the lazy dog.","role":"user"}],"model":"gpt-4o-mini"}"#;
    std::fs::write(folder.path().join("body"), body).unwrap();
    std::fs::write(
        folder.path().join("post.lua"),
        format!("wrk.method='POST'\nwrk.headers['content-type']='application/json'\nwrk.headers['authorization']='Bearer mercator-benchmark'\nwrk.body='{body}'\n"),
    )
    .unwrap();
    let own = std::env::current_exe().unwrap();
    let mut verdict = Verdict::default();

    println!("{CONNECTIONS} connections, each asks when it has its answer; {seconds} s a run");
    let idle = Server::start(&own, "1000000");
    println!("\na server that does nothing else: the client is the limit");
    let [wrk_seen, _, our_seen] = rounds(folder.path(), &idle, seconds);
    let ratio = our_seen.per_second / wrk_seen.per_second;
    verdict.must(
        &format!("{ratio:.2} of wrk's rate on one core, at least 0.5"),
        ratio >= 0.5,
    );

    println!("\na server that answers {CAPACITY} a second: the server is the limit");
    let busy = Server::start(&own, CAPACITY);
    let [wrk_seen, h2load_seen, our_seen] = rounds(folder.path(), &busy, seconds);
    for (what, ours, theirs) in [
        ("wrk's rate", our_seen.per_second, wrk_seen.per_second),
        ("h2load's rate", our_seen.per_second, h2load_seen.per_second),
        ("wrk's median latency", our_seen.p50, wrk_seen.p50),
        ("h2load's mean latency", our_seen.mean, h2load_seen.mean),
    ] {
        let ratio = ours / theirs;
        verdict.must(
            &format!("{ratio:.3} of {what}, within {AGREES}"),
            (ratio - 1.0).abs() <= AGREES,
        );
    }

    let lasts = STALL_AFTER + STALL + seconds;
    println!("\na server that stands still for {STALL} s in the midst of {lasts} s");
    let (stall, lasts) = (f64::from(STALL), f64::from(lasts));
    // Of those who ask at even distances the share `stall / lasts` comes meanwhile, and
    // waits from nothing to all of it.
    let mean = stall * stall / 2.0 / lasts * 1_000.0;
    let p99 = (stall - 0.01 * lasts) * 1_000.0;
    println!(
        "  {:20} {p99:8.0} ms p99 {mean:8.0} ms mean",
        "whoever asks evenly"
    );
    let whole = STALL_AFTER + STALL + seconds;
    let server = &idle;
    let theirs = [
        stalled("wrk", server, || wrk(folder.path(), server, whole)),
        stalled("h2load", server, || h2load(folder.path(), server, whole)),
        stalled("ours, closed loop", server, || ours(server, whole, None)),
    ];
    let open = stalled("ours, 1000/s", server, || ours(server, whole, Some("1000")));
    for (what, seen, true_one) in [("p99", open.p99, p99), ("mean", open.mean, mean)] {
        let ratio = seen / true_one;
        verdict.must(
            &format!("at 1000/s {ratio:.3} of the true {what}, within {AGREES}"),
            (ratio - 1.0).abs() <= AGREES,
        );
    }
    let nearest = theirs.iter().map(|seen| (seen.mean - mean).abs());
    let nearest = nearest.fold(f64::INFINITY, f64::min);
    verdict.must(
        "the mean of each that waits for answers is further from it",
        (open.mean - mean).abs() < nearest,
    );
    match verdict.missed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

/// wrk, h2load and ours in turn, so often; of each the fastest run.
fn rounds(folder: &Path, server: &Server, seconds: u32) -> [Seen; 3] {
    let all: Vec<[Seen; 3]> = (0..ROUNDS)
        .map(|_| {
            [
                wrk(folder, server, seconds),
                h2load(folder, server, seconds),
                ours(server, seconds, None),
            ]
        })
        .collect();
    [0, 1, 2].map(|of| {
        let runs = all.iter().map(|round| round[of]);
        let fastest = runs.max_by(|a, b| a.per_second.total_cmp(&b.per_second));
        let seen = fastest.unwrap();
        // h2load tells no percentiles: NaN.
        println!(
            "  {:7} {:9.0}/s {:7.3} ms p50 {:7.3} ms p99 {:7.3} ms mean",
            ["wrk", "h2load", "ours"][of],
            seen.per_second,
            seen.p50,
            seen.p99,
            seen.mean
        );
        seen
    })
}

/// What a run sees of a server that stands still in its midst.
fn stalled(name: &str, server: &Server, run: impl FnOnce() -> Seen) -> Seen {
    let pid = server.child.id().to_string();
    let stall = std::thread::spawn(move || {
        for (wait, signal) in [(STALL_AFTER, "-STOP"), (STALL, "-CONT")] {
            std::thread::sleep(Duration::from_secs(wait.into()));
            let sent = Command::new("kill").args([signal, &pid]).status();
            assert!(sent.unwrap().success());
        }
    });
    let seen = run();
    stall.join().unwrap();
    println!(
        "  {name:20} {:8.0} ms p99 {:8.0} ms mean",
        seen.p99, seen.mean
    );
    seen
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(own: &Path, per_second: &str) -> Server {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = pinned(SERVER_CORE, own)
            .args(["serve", per_second])
            .arg(address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut tries = 0;
        while std::net::TcpStream::connect(address).is_err() {
            tries += 1;
            assert!(tries < 500, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Server {
            child,
            url: format!("http://{address}/v1/chat/completions"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn output(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn wrk(folder: &Path, server: &Server, seconds: u32) -> Seen {
    let seconds = format!("{seconds}s");
    let text = output(
        pinned(CLIENT_CORE, Path::new("wrk"))
            .args(["-t1", "-c", CONNECTIONS, "-d", &seconds, "--latency"])
            .args(["--timeout", "30s", "-s", "post.lua", &server.url])
            .current_dir(folder),
    );
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    Seen {
        per_second: word_after(&text, "Requests/sec:").parse().unwrap(),
        p50: milliseconds(word_after(&text, "50%")),
        p99: milliseconds(word_after(&text, "99%")),
        mean: milliseconds(word_after(&text, " Latency ")),
    }
}

/// It tells no percentiles.
fn h2load(folder: &Path, server: &Server, seconds: u32) -> Seen {
    let seconds = seconds.to_string();
    let text = output(
        pinned(CLIENT_CORE, Path::new("h2load"))
            .args(["--h1", "-t1", "-c", CONNECTIONS, "-D", &seconds])
            .args(["-d", "body", "-H", "content-type: application/json"])
            .args(["-H", "authorization: Bearer mercator-benchmark"])
            .arg(&server.url)
            .current_dir(folder),
    );
    assert!(text.contains(" 0 failed"), "{text}");
    let rate = text.split(" req/s").next().unwrap().rsplit(' ').next();
    // min, max, mean
    let times = text.split("time for request:").nth(1).unwrap();
    Seen {
        per_second: rate.unwrap().parse().unwrap(),
        p50: f64::NAN,
        p99: f64::NAN,
        mean: milliseconds(times.split_whitespace().nth(2).unwrap()),
    }
}

fn ours(server: &Server, seconds: u32, rate: Option<&str>) -> Seen {
    let duration = format!("{seconds}s");
    let mut command = pinned(CLIENT_CORE, Path::new(env!("CARGO_BIN_EXE_mercator")));
    command.args(["benchmark", "--target", &server.url]);
    command.args(["--duration", &duration, "--format", "json"]);
    command.args(["--concurrency", CONNECTIONS, "--prompt-bytes", "44"]);
    command.args(rate.into_iter().flat_map(|rate| ["--rate", rate]));
    let results: serde_json::Value = serde_json::from_str(&output(&mut command)).unwrap();
    assert_eq!(results["requests"]["failed"], 0, "{}", results["errors"]);
    let number = |pointer| {
        let found = results.pointer(pointer);
        found.and_then(serde_json::Value::as_f64).unwrap()
    };
    Seen {
        per_second: number("/per_second"),
        p50: number("/latency_ms/p50"),
        p99: number("/latency_ms/p99"),
        mean: number("/latency_ms/mean"),
    }
}

fn word_after<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.split(name).nth(1).unwrap();
    rest.split_whitespace().next().unwrap()
}

/// `1.5ms`, `210us`, `2.00s`.
fn milliseconds(text: &str) -> f64 {
    let unit = text.trim_start_matches(|c: char| !c.is_alphabetic());
    let number: f64 = text.trim_end_matches(unit).parse().unwrap();
    match unit {
        "us" => number * 1e-3,
        "ms" => number,
        "s" => number * 1e3,
        other => unreachable!("unit `{other}`"),
    }
}

/// Answers whatever ends like a request's body, and reads nothing into it: so many a
/// second, in the order in which they came.
#[tokio::main(flavor = "current_thread")]
async fn serve_static(address: SocketAddr, per_second: f64) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let period = Duration::from_secs_f64(1.0 / per_second);
    let free_at = Rc::new(Cell::new(Instant::now()));
    LocalSet::new()
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                spawn_local(serve_one(stream, period, Rc::clone(&free_at)));
            }
        })
        .await;
}

/// `free_at` is when the server will have done all it was asked so far.
async fn serve_one(mut stream: TcpStream, period: Duration, free_at: Rc<Cell<Instant>>) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        // Head and body may come apart; a request here ends in `}`.
        if buffer[read - 1] != b'}' {
            continue;
        }
        let done = free_at.get().max(Instant::now()) + period;
        free_at.set(done);
        // What is due at once is not made to wait for a timer's next tick.
        if done > Instant::now() + TICK {
            sleep_until(done).await;
        }
        if stream.write_all(REPLY).await.is_err() {
            return;
        }
    }
}
