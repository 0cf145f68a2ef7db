//! An HTTP/1.1 connection for raw requests.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::timeout,
};

use super::raw::{Http1Response, parse_http1};

use super::PATIENCE;

/// A connection that sends any bytes and reads one response at a time.
pub struct Http1Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    unread: Vec<u8>,
}

impl Http1Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        let (reader, writer) = socket.into_split();
        Self {
            reader,
            writer,
            unread: Vec::new(),
        }
    }

    /// Sends a request while reading the response, as required for large bodies. Returns the
    /// response, unless the connection was reset first, and the connection if all was sent.
    pub async fn exchange(mut self, request: Vec<u8>) -> (Option<Http1Response>, Option<Self>) {
        let mut writer = self.writer;
        let sending: JoinHandle<Option<OwnedWriteHalf>> =
            tokio::spawn(async move { writer.write_all(&request).await.ok().map(|()| writer) });
        let response = read_response(&mut self.reader, &mut self.unread).await;
        let sent = timeout(PATIENCE, sending).await.expect("an end of sending");
        let connection = sent.expect("a sender").map(|writer| Self {
            reader: self.reader,
            writer,
            unread: self.unread,
        });
        (response, connection)
    }

    /// Whether the server closes the connection without sending more.
    pub async fn ends(mut self) -> bool {
        if !self.unread.is_empty() {
            return false;
        }
        let end = timeout(PATIENCE, self.reader.read(&mut [0; 1])).await;
        matches!(end.expect("an end in time"), Ok(0) | Err(_))
    }
}

/// Reads a complete response; `None` where the connection ends first.
async fn read_response(reader: &mut OwnedReadHalf, unread: &mut Vec<u8>) -> Option<Http1Response> {
    loop {
        if let Some(length) = response_length(unread) {
            let answer: Vec<u8> = unread.drain(..length).collect();
            return Some(parse_http1(&answer));
        }
        let read = timeout(PATIENCE, reader.read_buf(unread)).await;
        match read.expect("a response in time") {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The length of the first response in some bytes; `None` while it is incomplete.
fn response_length(bytes: &[u8]) -> Option<usize> {
    let find = |from: usize, what: &[u8]| {
        let mut windows = bytes.get(from..)?.windows(what.len());
        windows
            .position(|window| window == what)
            .map(|at| from + at)
    };
    let head = find(0, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        return find(head - 2, b"\r\n0\r\n\r\n").map(|end| end + 7);
    }
    let length = text.split("\r\ncontent-length: ").nth(1);
    let length = length.map_or(Some(0), |rest| rest.split("\r\n").next()?.parse().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}
