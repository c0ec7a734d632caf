//! Puts a reply on the wire the way its script wants: in pieces, paced,
//! compressed, or broken off.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Response;
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::fingerprint;
use super::script::{CutHow, Encoding, Script};
use super::server::Cut;

/// Time for hyper to put the pieces before a cut on the wire: it flushes when
/// the body has nothing more to say.
const FLUSH: Duration = Duration::from_millis(30);

/// A whole answer goes out in so many pieces unless scripted otherwise.
const PIECES: usize = 4;

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// Sent with its length.
    Whole(Vec<u8>),
    /// Server-sent events, each flushed by itself.
    Events(Vec<Vec<u8>>),
}

impl Reply {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self {
            status,
            headers: vec![("content-type", "application/json".to_owned())],
            content: Content::Whole(value.to_string().into_bytes()),
        }
    }

    pub(super) fn plain(status: u16, text: &str) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
            content: Content::Whole(text.as_bytes().to_vec()),
        }
    }

    /// Exactly `body`, said to be a stream or JSON.
    pub(super) fn scripted(body: &str, stream: bool) -> Self {
        match stream {
            true => Self::events(vec![body.as_bytes().to_vec()]),
            false => Self {
                status: 200,
                headers: vec![("content-type", "application/json".to_owned())],
                content: Content::Whole(body.as_bytes().to_vec()),
            },
        }
    }

    pub(super) fn events(events: Vec<Vec<u8>>) -> Self {
        Self {
            status: 200,
            headers: vec![
                (
                    CONTENT_TYPE.as_str(),
                    "text/event-stream; charset=utf-8".to_owned(),
                ),
                ("cache-control", "no-cache".to_owned()),
            ],
            content: Content::Events(events),
        }
    }

    pub(super) fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Begin to deliver `reply`; the rest follows from a task as `script` paces it.
pub(super) async fn deliver(
    reply: Reply,
    script: &Script,
    reset: Arc<AtomicBool>,
) -> Result<Response<PacedBody>, Cut> {
    if script.cut_after == Some(0) {
        reset.store(script.cut_how == CutHow::Reset, Ordering::Release);
        return Err(Cut);
    }
    let encoding = script.content_encoding;
    let (pieces, length) = pieces(reply.content, script);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(pace(pieces, script.clone(), sender, reset));

    let mut response = Response::new(PacedBody { receiver });
    // Out of range statuses were refused with the script.
    *response.status_mut() = hyper::StatusCode::from_u16(reply.status).unwrap_or_default();
    let headers = response.headers_mut();
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if encoding == Some(Encoding::Gzip) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// The bytes to send, piece by piece, and their sum where it is announced.
fn pieces(content: Content, script: &Script) -> (Vec<Vec<u8>>, Option<usize>) {
    let gzip = script.content_encoding == Some(Encoding::Gzip);
    let (pieces, length) = whole_pieces(content, script, gzip);
    match script.wire_bytes {
        Some(most) => (cut(&pieces.concat(), most, script.wire_seed), length),
        None => (pieces, length),
    }
}

/// Pieces of `most` bytes, or of lengths up to that, drawn from `seed`.
fn cut(mut bytes: &[u8], most: usize, seed: Option<u64>) -> Vec<Vec<u8>> {
    let most = most.max(1);
    let mut pieces = Vec::new();
    for number in 0u64.. {
        let length = seed.map_or(most, |seed| {
            let drawn = fingerprint(&[seed.to_le_bytes(), number.to_le_bytes()].concat());
            // The upper bits: the lower ones of neighbours are alike.
            1 + usize::try_from(drawn >> 32).unwrap_or_default() % most
        });
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        if piece.is_empty() {
            break;
        }
        pieces.push(piece.to_vec());
        bytes = rest;
    }
    pieces
}

fn whole_pieces(content: Content, script: &Script, gzip: bool) -> (Vec<Vec<u8>>, Option<usize>) {
    match content {
        Content::Whole(bytes) => {
            let bytes = if gzip {
                compress(vec![bytes]).concat()
            } else {
                bytes
            };
            let wanted = script.chunks.unwrap_or(PIECES).max(1);
            let size = bytes.len().div_ceil(wanted).max(1);
            let pieces = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            (pieces, Some(bytes.len()))
        }
        Content::Events(events) if gzip => (compress(events), None),
        Content::Events(events) => (events, None),
    }
}

/// Compress so that each piece can be read before the next one comes.
fn compress(pieces: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut encoded: Vec<Vec<u8>> = pieces
        .into_iter()
        .map(|piece| {
            // Writing to memory does not fail.
            let _ = encoder.write_all(&piece);
            let _ = encoder.flush();
            std::mem::take(encoder.get_mut())
        })
        .collect();
    encoded.push(encoder.finish().unwrap_or_default());
    encoded
}

async fn pace(
    pieces: Vec<Vec<u8>>,
    script: Script,
    sender: mpsc::Sender<Result<Bytes, Cut>>,
    reset: Arc<AtomicBool>,
) {
    for (index, piece) in pieces.into_iter().enumerate() {
        if script.cut_after == Some(index) {
            tokio::time::sleep(FLUSH).await;
            reset.store(script.cut_how == CutHow::Reset, Ordering::Release);
            let _ = sender.send(Err(Cut)).await;
            return;
        }
        if index > 0 && script.chunk_interval_ms > 0 {
            tokio::time::sleep(script.chunk_interval()).await;
        }
        if sender.send(Ok(Bytes::from(piece))).await.is_err() {
            return;
        }
    }
}

/// A response body fed by [`pace`].
#[derive(Debug)]
pub(super) struct PacedBody {
    receiver: mpsc::Receiver<Result<Bytes, Cut>>,
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.receiver
            .poll_recv(cx)
            .map(|piece| piece.map(|bytes| bytes.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_drawn_from_the_seed_and_lose_nothing() {
        let bytes: Vec<u8> = (0..=255).collect();
        let lengths = |seed| -> Vec<usize> {
            let pieces = cut(&bytes, 16, seed);
            assert_eq!(pieces.concat(), bytes);
            pieces.iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(None), [16; 16]);
        assert_eq!(lengths(Some(1)), lengths(Some(1)));
        assert_ne!(lengths(Some(1)), lengths(Some(2)));
        let drawn = lengths(Some(1));
        assert!(drawn.iter().all(|length| (1..=16).contains(length)));
        assert!(
            drawn.contains(&1) && drawn.iter().any(|it| *it > 12),
            "{drawn:?}"
        );
        assert_eq!(cut(&bytes, 1, Some(7)).len(), bytes.len());
        assert!(cut(b"", 5, None).is_empty());
    }
}
