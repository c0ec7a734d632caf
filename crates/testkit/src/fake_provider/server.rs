//! Accepts connections and sends each request to its dialect.
//!
//! Speaks HTTP/1.1, as the providers' side of a proxy does. A connection that
//! a script breaks takes no other with it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::received::ReceivedRequest;
use super::wire::{self, PacedBody, Reply};
use super::{Shared, anthropic, control, openai};

/// Larger than any request a test makes on purpose.
const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

pub(super) async fn run(
    listener: TcpListener,
    shared: Arc<Shared>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    tokio::pin!(shutdown);
    // Dropped at the end, which aborts the connections still open.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                }
                // Out of file descriptors, or a peer gone already: others must go on.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // Without it small chunks wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Connection {
        stream,
        reset: Arc::clone(&reset),
    });
    let service = service_fn(move |request| {
        let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
        async move { answer(request, &shared, reset).await }
    });
    // The error is the cut that a script asked for, or a client that went away.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(io, service)
        .await;
}

/// Instead of an answer, a broken connection.
#[derive(Debug)]
pub(super) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection cut as scripted")
    }
}

impl std::error::Error for Cut {}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
    reset: Arc<AtomicBool>,
) -> Result<Response<PacedBody>, Cut> {
    let Some(request) = receive(request).await else {
        return wire::deliver(
            Reply::plain(413, "body too large or cut short"),
            &Default::default(),
            reset,
        )
        .await;
    };
    if request.path.starts_with(control::PREFIX) {
        let reply = control::answer(shared, &request.method, request.route(), &request.body);
        return wire::deliver(reply, &Default::default(), reset).await;
    }
    let script = shared.script().of_request(&request.headers);
    shared.received().push(request.clone());
    match script {
        Ok(script) if script.never => match std::future::pending::<Infallible>().await {},
        Ok(script) => {
            shared.released().await;
            tokio::time::sleep(script.latency()).await;
            let reply = match &script.body {
                Some(body) => Reply::scripted(body, asks_for_stream(&request)),
                None if speaks_anthropic(&request) => anthropic::answer(&request, &script),
                None => openai::answer(&request, &script, shared),
            };
            wire::deliver(reply, &script, reset).await
        }
        Err(error) => {
            let reply = Reply::plain(400, &error.to_string());
            wire::deliver(reply, &Default::default(), reset).await
        }
    }
}

async fn receive(request: Request<Incoming>) -> Option<ReceivedRequest> {
    let (head, body) = request.into_parts();
    let body: Bytes = Limited::new(body, MAX_REQUEST_BYTES)
        .collect()
        .await
        .ok()?
        .to_bytes();
    Some(ReceivedRequest {
        method: head.method.as_str().to_owned(),
        path: head
            .uri
            .path_and_query()
            .map_or_else(|| head.uri.path().to_owned(), ToString::to_string),
        headers: head.headers,
        body,
    })
}

fn asks_for_stream(request: &ReceivedRequest) -> bool {
    let body: Option<Value> = serde_json::from_slice(&request.body).ok();
    body.is_some_and(|body| body.get("stream") == Some(&Value::Bool(true)))
        || request.path.contains("stream=true")
}

/// Both serve `/v1/models`; only Anthropic's clients name a version.
fn speaks_anthropic(request: &ReceivedRequest) -> bool {
    request.route().starts_with("/v1/messages") || request.headers.contains_key("anthropic-version")
}

/// A socket that is reset instead of closed once `reset` is set.
struct Connection {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Acquire) {
            // Closing a socket that lingers for zero seconds sends RST.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Acquire) {
            // A FIN first would make the reset look like an orderly end.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
