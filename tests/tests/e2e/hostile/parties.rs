//! Client and provider on bare sockets: they send what a case says, as it says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::messages::Wire;

/// Longer than anything here takes, however busy the machine is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// A message larger than any case makes.
const LARGEST: usize = 4 << 20;

/// Answers each request as the case it belongs to has it, and keeps what came.
#[derive(Debug, Default)]
pub(super) struct Provider {
    answers: Mutex<BTreeMap<String, Wire>>,
    received: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Provider {
    pub(super) async fn start() -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let provider = Arc::new(Self::default());
        let shared = Arc::clone(&provider);
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else {
                    continue;
                };
                let provider = Arc::clone(&shared);
                tokio::spawn(async move { provider.serve(socket).await });
            }
        });
        (provider, address)
    }

    pub(super) fn expect(&self, id: &str, answer: Wire) {
        lock(&self.answers).insert(id.to_owned(), answer);
    }

    /// The body that came for a case, if one did; it is forgotten.
    pub(super) fn take(&self, id: &str) -> Option<Vec<u8>> {
        lock(&self.answers).remove(id);
        lock(&self.received).remove(id)
    }

    /// One request, then the connection ends: what is left of it must not be read as another.
    async fn serve(&self, mut socket: TcpStream) {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if let Some(parts) = whole(&bytes, Some(0)) {
                break parts;
            }
            match socket.read_buf(&mut bytes).await {
                Ok(1..) if bytes.len() < LARGEST => {}
                _ => return,
            }
        };
        let id = header(&head, "x-request-id").unwrap_or_default();
        lock(&self.received).insert(id.clone(), body);
        let answer = lock(&self.answers).get(&id).cloned();
        if let Some(answer) = answer {
            send(&mut socket, &answer).await;
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Send a request and read until the connection ends; `None`: it never did.
pub(super) async fn ask(port: u16, request: &Wire) -> Option<Vec<u8>> {
    let exchange = async {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let left = send(&mut socket, request).await;
        let mut answer = Vec::new();
        while !left && whole(without_interim(&answer), None).is_none() {
            match socket.read_buf(&mut answer).await {
                Ok(1..) if answer.len() < LARGEST => {}
                _ => break,
            }
        }
        Some(answer)
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok()?
}

/// Whether the sender left; what cannot be sent was not wanted.
async fn send(socket: &mut TcpStream, wire: &Wire) -> bool {
    let _ = socket.set_nodelay(true);
    for (nth, piece) in wire.pieces.iter().enumerate() {
        if wire.leaves_after == Some(nth) || socket.write_all(piece).await.is_err() {
            break;
        }
    }
    if wire.leaves_after.is_some() && wire.resets {
        let _ = socket.set_zero_linger();
    }
    wire.leaves_after.is_some()
}

/// What follows the answer that only says to go on.
fn without_interim(answer: &[u8]) -> &[u8] {
    match answer.starts_with(b"HTTP/1.1 100 ") {
        true => {
            let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
            end.map_or(&[], |at| &answer[at + 4..])
        }
        false => answer,
    }
}

/// Head and decoded body of a message, once its framing says that it is whole; `unframed` is
/// the length of a body that has no framing, which ends with the connection unless given.
fn whole(bytes: &[u8], unframed: Option<usize>) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let (head, rest) = bytes.split_at(at + 4);
    if header(head, "transfer-encoding").is_some() {
        let (body, is_whole) = dechunked(rest);
        return is_whole.then(|| (head.to_vec(), body));
    }
    let length = header(head, "content-length").and_then(|it| it.parse().ok());
    Some((head.to_vec(), rest.get(..length.or(unframed)?)?.to_vec()))
}

/// Head and as much of the body as there is.
pub(super) fn parts(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let bytes = without_interim(bytes);
    let at = bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let (head, rest) = bytes.split_at(at.map_or(bytes.len(), |at| at + 4));
    let body = match header(head, "transfer-encoding") {
        Some(_) => dechunked(rest).0,
        None => rest.to_vec(),
    };
    (head.to_vec(), body)
}

fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|it| it == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..at]).ok();
        let Some(size) = size.and_then(|it| usize::from_str_radix(it, 16).ok()) else {
            return (body, false);
        };
        rest = &rest[at + 2..];
        if size == 0 {
            return (
                body,
                rest.starts_with(b"\r\n") || rest.ends_with(b"\r\n\r\n"),
            );
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        let Some(after) = rest.get(size + 2..) else {
            return (body, false);
        };
        rest = after;
    }
}

pub(super) fn header(head: &[u8], name: &str) -> Option<String> {
    let head = String::from_utf8_lossy(head);
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}
