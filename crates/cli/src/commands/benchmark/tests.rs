//! Whole runs against a server that misbehaves as told.
//!
//! Times are only compared with delays that the server itself imposed: a slow
//! machine makes them longer, never shorter.

use super::answer::Class;
use super::line::Dialer;
use super::load::{self, Ran};
use super::plan::tests::{ask, pace};
use super::plan::{ApiArg, Ask, Pace, Plan, Share};
use super::results::{Limits, Results};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

const MS: Duration = Duration::from_millis(1);

/// What a server does with one request.
#[derive(Clone)]
enum Does {
    /// Status and body, whole.
    Answers(u16, String),
    /// The head, so much of a body, and a close in good order.
    Streams(String),
    /// Half of what the head promised.
    BreaksOff,
    /// Closes without a word.
    Hangs,
    Closes,
    Babbles,
    /// All connections stand still from here, for so long.
    Stalls(Duration),
}

/// A blocking server with one thread a connection: it can do to a socket what no
/// library of good manners does.
struct Server {
    address: std::net::SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Server {
    /// `does` says what becomes of the n-th request, its body at hand.
    fn start(does: impl Fn(usize, &str) -> Does + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (does, count) = (Arc::new(does), Arc::clone(&served));
        let until = Arc::new(std::sync::RwLock::new(Instant::now()));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (does, count, until) =
                    (Arc::clone(&does), Arc::clone(&count), Arc::clone(&until));
                std::thread::spawn(move || serve(stream.unwrap(), &*does, &count, &until));
            }
        });
        Server { address, served }
    }

    fn plan(&self, ask: &Ask, pace: Pace) -> Plan {
        let target = format!("http://{}", self.address);
        Plan::new(target.parse().unwrap(), ask, pace).unwrap()
    }

    /// The results are judged without mercy: not one error.
    async fn run(&self, ask: &Ask, pace: Pace) -> (Ran, Results) {
        run(self.plan(ask, pace)).await
    }
}

async fn run(plan: Plan) -> (Ran, Results) {
    let dialer = Dialer::new(&plan.target, None).unwrap();
    let ran = load::run(plan.clone(), dialer, CancellationToken::new(), |_| ())
        .await
        .unwrap();
    let limits = Limits {
        error_rate: 0.0,
        p99: None,
        first_token_p99: None,
    };
    let results = Results::new(&plan, SystemTime::now(), &ran, limits);
    (ran, results)
}

fn serve(
    stream: TcpStream,
    does: &dyn Fn(usize, &str) -> Does,
    count: &AtomicUsize,
    until: &std::sync::RwLock<Instant>,
) {
    stream.set_nodelay(true).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    while let Some(body) = receive(&mut input) {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let mut what = does(number, &body);
        if let Does::Stalls(time) = what {
            *until.write().unwrap() = Instant::now() + time;
            what = Does::Answers(200, "{}".to_owned());
        }
        let rest = until
            .read()
            .unwrap()
            .saturating_duration_since(Instant::now());
        std::thread::sleep(rest);
        match what {
            Does::Answers(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                if out.write_all((head + &body).as_bytes()).is_err() {
                    return;
                }
            }
            Does::Streams(events) => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                let _ = out.write_all((head.to_owned() + &events).as_bytes());
                let _ = out.shutdown(Shutdown::Both);
            }
            Does::BreaksOff => {
                let _ = out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
                let _ = out.shutdown(Shutdown::Both);
            }
            Does::Hangs => {
                // Until the client gives up.
                let _ = input.read(&mut [0]);
            }
            Does::Closes => {
                let _ = out.shutdown(Shutdown::Both);
            }
            Does::Babbles => {
                let _ = out.write_all(b"what is this?\r\n\r\n");
                let _ = out.shutdown(Shutdown::Both);
            }
            Does::Stalls(_) => {}
        }
    }
}

fn receive(input: &mut impl BufRead) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(number) = line.strip_prefix("content-length:") {
            length = number.trim().parse().ok()?;
        }
        if line.is_empty() {
            let mut body = vec![0; length];
            input.read_exact(&mut body).ok()?;
            return String::from_utf8(body).ok();
        }
    }
}

fn fine() -> Does {
    Does::Answers(200, "{}".to_owned())
}

fn denial() -> Does {
    let body =
        r#"{"error":{"code":"confidential_content","type":"policy_violation","decision_id":"d"}}"#;
    Does::Answers(403, body.to_owned())
}

fn errors(results: &Results) -> Vec<(Class, u64)> {
    let errors = results.errors.iter().filter(|(_, count)| **count > 0);
    errors.map(|(class, count)| (*class, *count)).collect()
}

/// Results of a run that had everything, for the tests of what shows them.
pub fn results() -> Results {
    let plan = Plan::new("http://127.0.0.1:8080".parse().unwrap(), &ask(), pace()).unwrap();
    let mut tally = super::tally::Tally::new(MS * 4_000);
    for n in 1..=400_u32 {
        let class = if n % 100 == 0 {
            Class::Reset
        } else {
            Class::Answered
        };
        tally.send(MS / 10, false);
        tally.end(
            &super::answer::Outcome::of(class),
            MS * 10 * n,
            MS * (1 + n % 50),
            None,
        );
    }
    tally.finish(MS * 4_000);
    let ran = Ran {
        tally,
        elapsed: MS * 4_000,
        interrupted: None,
    };
    let limits = Limits {
        error_rate: 0.05,
        p99: Some(MS * 100),
        first_token_p99: None,
    };
    Results::new(&plan, SystemTime::UNIX_EPOCH, &ran, limits)
}

#[tokio::test]
async fn every_planned_request_is_sent_once_at_its_time() {
    let server = Server::start(|_, _| fine());
    let pace = Pace {
        rate: Some(500.0),
        ..pace()
    };
    let (ran, results) = server.run(&ask(), pace).await;
    assert_eq!(results.requests.planned, Some(500));
    assert_eq!(results.requests.sent, 500);
    assert_eq!(results.requests.answered, 500);
    assert_eq!(server.served.load(Ordering::SeqCst), 500);
    // The last is due after 998 ms, and none goes before its time.
    assert!(ran.elapsed >= MS * 998, "{:?}", ran.elapsed);
    assert!(results.held());
    let seen: u64 = results
        .intervals
        .iter()
        .map(|interval| interval.answered)
        .sum();
    assert_eq!(seen, 500);
}

#[tokio::test]
async fn every_error_is_counted_in_its_class_and_nothing_is_sent_twice() {
    let error = |text: &str| format!("{{\"error\":{text}}}");
    let server = Server::start(move |number, _| match number % 10 {
        0 => Does::Answers(429, error(r#"{"code":"rate_limited"}"#)),
        1 => Does::Answers(500, "<html>".to_owned()),
        2 => Does::Answers(
            503,
            error(r#"{"code":"no_policy_bundle","decision_id":"d"}"#),
        ),
        3 => Does::BreaksOff,
        4 => Does::Closes,
        5 => Does::Babbles,
        6 => denial(),
        7 => Does::Answers(301, String::new()),
        8 => Does::Hangs,
        _ => fine(),
    });
    let pace = Pace {
        rate: Some(200.0),
        duration: MS * 500,
        // Too short for those that hang, long enough for the rest on any machine.
        timeout: Duration::from_secs(3),
        concurrency: 100,
        ..pace()
    };
    let (_, results) = server.run(&ask(), pace).await;
    assert_eq!(results.requests.answered, 10);
    assert_eq!(
        errors(&results),
        [
            (Class::DeniedWrongly, 10),
            (Class::Refused, 10),
            (Class::Reset, 10),
            (Class::Cut, 10),
            (Class::Timeout, 10),
            (Class::Http4xx, 10),
            (Class::Http5xx, 10),
            (Class::Invalid, 20),
        ]
    );
    assert_eq!(server.served.load(Ordering::SeqCst), 100);
    assert_eq!(results.error_rate, 0.9);
    assert!(!results.held());
    assert_eq!(results.codes["rate_limited"], 10);
    assert_eq!(results.codes["no_policy_bundle"], 10);
    assert_eq!(results.codes["500"], 10);
}

#[tokio::test]
async fn policy_mix_tells_denials_from_errors_and_finds_what_is_let_through() {
    let confidential = |body: &str| body.contains("CONFIDENTIAL");
    let mixed = Pace {
        policy_mix: Share(0.25),
        ..pace()
    };
    let strict = Server::start(move |_, body| if confidential(body) { denial() } else { fine() });
    let (_, results) = strict.run(&ask(), mixed).await;
    assert_eq!(
        (results.requests.answered, results.requests.denied),
        (75, 25)
    );
    assert_eq!(errors(&results), []);
    assert_eq!(results.denied_ms.unwrap().count, 25);
    assert!(results.held());

    let open = Server::start(|_, _| fine());
    let plan = open.plan(&ask(), mixed);
    let (ran, results) = run(plan.clone()).await;
    assert_eq!(errors(&results), [(Class::LetThrough, 25)]);
    // Not even with every error allowed.
    let limits = Limits {
        error_rate: 1.0,
        p99: None,
        first_token_p99: None,
    };
    assert!(!Results::new(&plan, SystemTime::now(), &ran, limits).held());
}

#[tokio::test]
async fn stream_without_its_end_is_cut_never_complete() {
    const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let server = Server::start(|number, _| {
        let end = match number % 2 {
            0 => "data: [DONE]\n\n",
            _ => "",
        };
        Does::Streams([TOKEN, TOKEN, TOKEN, end].concat())
    });
    let streamed = Ask {
        stream: true,
        ..ask()
    };
    let (_, results) = server.run(&streamed, pace()).await;
    assert_eq!(results.requests.answered, 50);
    assert_eq!(errors(&results), [(Class::Cut, 50)]);
    assert_eq!(results.first_token_ms.unwrap().count, 100);
    assert_eq!(results.token_gap_ms.unwrap().count, 200);
    // A stream was asked for: an answer in one piece is none.
    let whole = Server::start(|_, _| fine());
    let anthropic = Ask {
        api: ApiArg::Anthropic,
        ..streamed
    };
    let (_, results) = whole.run(&anthropic, pace()).await;
    assert_eq!(errors(&results), [(Class::Cut, 100)]);
}

/// The server stands still for a second in the midst of a run of two.
#[tokio::test]
async fn open_loop_shows_a_stall_that_a_closed_loop_hides() {
    const STALL: Duration = Duration::from_secs(1);
    let stalls = |at: usize| {
        Server::start(move |number, _| match number == at {
            true => Does::Stalls(STALL),
            false => fine(),
        })
    };
    let open = Pace {
        rate: Some(200.0),
        duration: Duration::from_secs(2),
        concurrency: 4,
        ..pace()
    };
    let (_, results) = stalls(100).run(&ask(), open).await;
    let shown = results.latency_ms.unwrap();
    assert_eq!(shown.count, 400);
    // 200 of 400 were due while nothing was answered, evenly over that second.
    assert!(shown.p99 >= 900.0 && shown.p90 >= 700.0, "{shown:?}");
    // All four connections stood still; what waited for them is told.
    assert!(results.late.all_busy >= 150, "{:?}", results.late);

    let closed = Pace { rate: None, ..open };
    let (_, results) = stalls(100).run(&ask(), closed).await;
    let hidden = results.latency_ms.unwrap();
    assert!(hidden.max >= 900.0, "{hidden:?}");
    assert!(hidden.p99 < shown.p50, "{hidden:?}");
}

#[tokio::test]
async fn what_waits_too_long_for_a_connection_is_not_sent_and_counts_as_an_error() {
    let server = Server::start(|_, _| Does::Hangs);
    let pace = Pace {
        concurrency: 2,
        timeout: MS * 200,
        ..pace()
    };
    let (ran, results) = server.run(&ask(), pace).await;
    let of = |class| results.errors[&class];
    // Nothing was ever answered; what found a connection is what ran out of time on it.
    assert_eq!(results.requests.failed, 100);
    assert_eq!(
        of(Class::Timeout) + of(Class::NotSent),
        100,
        "{:?}",
        results.errors
    );
    assert!(of(Class::NotSent) >= 80, "{:?}", results.errors);
    assert_eq!(results.requests.sent, of(Class::Timeout));
    assert_eq!(
        ran.tally.failed.summary().unwrap().count,
        of(Class::Timeout)
    );
}

#[tokio::test]
async fn closed_loop_keeps_so_many_requests_under_way() {
    let server = Server::start(|_, _| fine());
    let closed = Pace {
        rate: None,
        duration: MS * 300,
        concurrency: 3,
        ..pace()
    };
    let mut most = 0;
    let plan = server.plan(&ask(), closed);
    let dialer = Dialer::new(&plan.target, None).unwrap();
    let tell = |progress: &load::Progress| most = most.max(progress.under_way);
    let ran = load::run(plan, dialer, CancellationToken::new(), tell)
        .await
        .unwrap();
    assert!(most <= 3);
    assert_eq!(ran.tally.sent, ran.tally.count(Class::Answered));
    assert_eq!(ran.tally.sent, server.served.load(Ordering::SeqCst) as u64);
}

#[tokio::test]
async fn nobody_there_is_no_result_but_a_server_that_goes_away_is_one() {
    let vacant = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plan = Plan::new(format!("http://{vacant}").parse().unwrap(), &ask(), pace()).unwrap();
    let dialer = Dialer::new(&plan.target, None).unwrap();
    load::run(
        plan.clone(),
        dialer.clone(),
        CancellationToken::new(),
        |_| (),
    )
    .await
    .unwrap_err();

    // One connection is taken and answered once; then the port is closed.
    let listener = TcpListener::bind(vacant).unwrap();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut input = BufReader::new(stream.try_clone().unwrap());
        receive(&mut input).unwrap();
        let mut out = stream;
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
    });
    let plan = Plan::new(
        format!("http://{vacant}").parse().unwrap(),
        &ask(),
        Pace {
            concurrency: 1,
            ..pace()
        },
    );
    let (_, results) = run(plan.unwrap()).await;
    assert_eq!(results.requests.answered, 1);
    assert_eq!(errors(&results), [(Class::Connect, 99)]);
}

#[tokio::test]
async fn run_that_is_stopped_shows_what_it_has() {
    let server = Server::start(|number, _| if number < 3 { fine() } else { Does::Hangs });
    let plan = server.plan(&ask(), pace());
    let dialer = Dialer::new(&plan.target, None).unwrap();
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    let tell = move |progress: &load::Progress| {
        if progress.answered == 3 && progress.under_way == 10 {
            stopper.cancel();
        }
    };
    let ran = load::run(plan, dialer, stop, tell).await.unwrap();
    assert_eq!(ran.interrupted, Some(10));
    assert_eq!(ran.tally.count(Class::Answered), 3);
}

#[test]
fn results_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let results = results();
    super::write(&path, &super::json(&results).to_string()).unwrap();
    assert_eq!(Results::read(&path).unwrap(), results);
    std::fs::write(&path, "{}").unwrap();
    assert!(
        Results::read(&path)
            .unwrap_err()
            .to_string()
            .contains("no results in")
    );
}
