//! The cheapest server there can be: the same answer to whatever is asked.
//!
//! It reads each request to its end and keeps connections; provider and
//! authorization server are both one of these.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serve `answer` on a free loopback port for as long as the runtime lives.
pub async fn serve(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).expect("a socket option");
            tokio::spawn(answer_on(socket, answer));
        }
    });
    address
}

async fn answer_on(mut socket: TcpStream, answer: &'static [u8]) {
    let mut read = Vec::with_capacity(16 << 10);
    while let Ok(1..) = socket.read_buf(&mut read).await {
        while let Some(length) = whole_request(&read) {
            read.drain(..length);
            if socket.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}

/// The length of the first request, once all of it is there.
fn whole_request(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|at| at == b"\r\n\r\n")? + 4;
    let lines = std::str::from_utf8(&read[..head]).expect("a head of text");
    let length = lines.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().expect("a length"))
    });
    let length = head + length.unwrap_or(0);
    (read.len() >= length).then_some(length)
}
