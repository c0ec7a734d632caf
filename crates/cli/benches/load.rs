//! `mercator benchmark` beside wrk and h2load: how fast it can send, whether it
//! measures the same, and what a stalled server looks like in each.
//!
//! `./justw bench load [SECONDS]`. Clients run on one core, servers on another,
//! taking turns; the middle of three rounds counts.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement"
)]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CLIENT_CORE: &str = "0";
const SERVER_CORE: &str = "1";
const CONNECTIONS: &str = "16";
const ROUNDS: usize = 3;
const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, serve, address] = arguments.as_slice()
        && serve == "serve"
    {
        return serve_static(address.parse().unwrap());
    }
    let seconds = arguments
        .iter()
        .find_map(|a| a.parse::<u32>().ok())
        .unwrap_or(5);
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
    println!("{CONNECTIONS} connections, {seconds} s a run, requests per second:");
    println!(
        "{:34} {:>9} {:>9} {:>9}  ours/wrk  ours/h2load",
        "server", "wrk", "h2load", "ours"
    );
    let own = std::env::current_exe().unwrap();
    for (name, program, arguments) in [
        (
            "does nothing (client at its limit)",
            own.as_path(),
            vec!["serve"],
        ),
        (
            "fake provider (server at its limit)",
            Path::new(env!("CARGO_BIN_EXE_mercator")),
            vec!["fake-provider", "--listen"],
        ),
    ] {
        let server = Server::start(program, &arguments);
        let url = format!("http://{}/v1/chat/completions", server.address);
        let mut rounds: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|_| {
                [
                    wrk(folder.path(), &url, seconds).0,
                    h2load(folder.path(), &url, seconds),
                    ours(&url, seconds, None).0,
                ]
            })
            .collect();
        let middle = |of: usize, rounds: &mut Vec<[f64; 3]>| {
            rounds.sort_by(|a, b| a[of].total_cmp(&b[of]));
            rounds[ROUNDS / 2][of]
        };
        let [wrk, h2load, ours] = [0, 1, 2].map(|of| middle(of, &mut rounds));
        println!(
            "{name:34} {wrk:9.0} {h2load:9.0} {ours:9.0}  {:8.2}  {:11.2}",
            ours / wrk,
            ours / h2load
        );
    }

    println!(
        "\nA server that stands still for 2 s in the midst of {} s, p99 in ms:",
        seconds + 5
    );
    let server = Server::start(&own, &["serve"]);
    let url = format!("http://{}/v1/chat/completions", server.address);
    let stalled = |run: &dyn Fn() -> f64| {
        let pid = server.child.id().to_string();
        let stall = std::thread::spawn(move || {
            for (wait, signal) in [(3, "-STOP"), (2, "-CONT")] {
                std::thread::sleep(Duration::from_secs(wait));
                assert!(
                    Command::new("kill")
                        .args([signal, &pid])
                        .status()
                        .unwrap()
                        .success()
                );
            }
        });
        let p99 = run();
        stall.join().unwrap();
        p99
    };
    let closed = stalled(&|| ours(&url, seconds + 5, None).1);
    let wrk = stalled(&|| wrk(folder.path(), &url, seconds + 5).1);
    let open = stalled(&|| ours(&url, seconds + 5, Some("1000")).1);
    // With --latency wrk fills in what it thinks it would have sent.
    println!("closed loop {closed:.1}, wrk {wrk:.1}, at 1000 requests/s {open:.1}");
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(program: &Path, arguments: &[&str]) -> Server {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = pinned(SERVER_CORE, program)
            .args(arguments)
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
        Server { child, address }
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

/// Requests per second, and p99 in milliseconds.
fn wrk(folder: &Path, url: &str, seconds: u32) -> (f64, f64) {
    let seconds = format!("{seconds}s");
    let text = output(
        pinned(CLIENT_CORE, Path::new("wrk"))
            .args([
                "-t1",
                "-c",
                CONNECTIONS,
                "-d",
                &seconds,
                "--latency",
                "--timeout",
                "30s",
                "-s",
                "post.lua",
                url,
            ])
            .current_dir(folder),
    );
    assert!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{text}"
    );
    let after = |name: &str| {
        text.split(name)
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap()
    };
    let p99 = after("99%");
    let number: f64 = p99
        .trim_end_matches(|c: char| c.is_alphabetic())
        .parse()
        .unwrap();
    let scale = match p99.trim_start_matches(|c: char| !c.is_alphabetic()) {
        "us" => 1e-3,
        "ms" => 1.0,
        _ => 1e3,
    };
    (after("Requests/sec:").parse().unwrap(), number * scale)
}

fn h2load(folder: &Path, url: &str, seconds: u32) -> f64 {
    let seconds = seconds.to_string();
    let text = output(
        pinned(CLIENT_CORE, Path::new("h2load"))
            .args([
                "--h1",
                "-t1",
                "-c",
                CONNECTIONS,
                "-D",
                &seconds,
                "-d",
                "body",
            ])
            .args([
                "-H",
                "content-type: application/json",
                "-H",
                "authorization: Bearer mercator-benchmark",
                url,
            ])
            .current_dir(folder),
    );
    assert!(text.contains(" 0 failed"), "{text}");
    let rate = text.split(" req/s").next().unwrap().rsplit(' ').next();
    rate.unwrap().parse().unwrap()
}

/// Requests per second, and p99 in milliseconds.
fn ours(url: &str, seconds: u32, rate: Option<&str>) -> (f64, f64) {
    let duration = format!("{seconds}s");
    let mut command = pinned(CLIENT_CORE, Path::new(env!("CARGO_BIN_EXE_mercator")));
    command.args([
        "benchmark",
        "--target",
        url,
        "--duration",
        &duration,
        "--format",
        "json",
    ]);
    command.args(["--concurrency", CONNECTIONS, "--prompt-bytes", "44"]);
    command.args(rate.into_iter().flat_map(|rate| ["--rate", rate]));
    let results: serde_json::Value = serde_json::from_str(&output(&mut command)).unwrap();
    assert_eq!(results["requests"]["failed"], 0, "{}", results["errors"]);
    let number = |pointer| {
        results
            .pointer(pointer)
            .and_then(serde_json::Value::as_f64)
            .unwrap()
    };
    (number("/per_second"), number("/latency_ms/p99"))
}

/// Answers whatever ends like a request's body, and reads nothing into it.
#[tokio::main(flavor = "current_thread")]
async fn serve_static(address: SocketAddr) {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                // Head and body may come apart; a request here ends in `}`.
                if buffer[read - 1] == b'}' && stream.write_all(REPLY).await.is_err() {
                    return;
                }
            }
        });
    }
}
