//! gRPC calls over one HTTP/2 connection (RFC 9113), at minimal cost: constant parts are
//! prepared once, and only the status of a reply is parsed.

mod frames;
mod hpack;

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use self::{
    frames::{Frame, Kind},
    hpack::Statuses,
};

/// Longer than any reply takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// The receive window: more than is ever in flight.
const WINDOW: u32 = 1 << 30;

/// The initial send window of a connection.
const FIRST_WINDOW: i64 = 65_535;

/// A connection for repeated calls of one method.
pub struct Connection {
    socket: TcpStream,
    /// The head of each request.
    head: Vec<u8>,
    next_stream: u32,
    statuses: Statuses,
    /// The send window, and the bytes received since the last WINDOW_UPDATE.
    window: i64,
    received: u32,
    /// The bytes of all received messages.
    pub message_bytes: u64,
    input: Vec<u8>,
    filled: usize,
    output: Vec<u8>,
}

impl Connection {
    /// Opens a connection for the method with this path.
    pub fn open(address: SocketAddr, path: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let mut output = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        frames::settings(&mut output, WINDOW);
        frames::window_update(&mut output, WINDOW);
        Ok(Self {
            socket,
            head: hpack::request_head(path, &address.to_string()),
            next_stream: 1,
            statuses: Statuses::default(),
            window: FIRST_WINDOW,
            received: 0,
            message_bytes: 0,
            input: vec![0; 256 * 1024],
            filled: 0,
            output,
        })
    }

    /// Adds a call to the output; `false` when it exceeds the send window.
    pub fn ask(&mut self, message: &[u8]) -> bool {
        let length = message.len() + 5;
        if self.window < length as i64 {
            return false;
        }
        self.window -= length as i64;
        frames::request(&mut self.output, self.next_stream, &self.head, message);
        self.next_stream += 2;
        true
    }

    /// Sends the output.
    pub fn send(&mut self) -> io::Result<()> {
        if !self.output.is_empty() {
            self.socket.write_all(&self.output)?;
            self.output.clear();
        }
        Ok(())
    }

    /// Waits for data; yields the `grpc-status` of each ended call.
    pub fn receive(&mut self, mut ended: impl FnMut(u8)) -> io::Result<()> {
        let read = self.socket.read(&mut self.input[self.filled..])?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        self.filled += read;
        let mut at = 0;
        while let Some((frame, length)) = Frame::parse(&self.input[at..self.filled]) {
            at += length;
            match frame.kind {
                Kind::Data => {
                    let length = u32::try_from(frame.payload.len()).map_err(io::Error::other)?;
                    self.received += length;
                    self.message_bytes += u64::from(length);
                    if frame.ends_stream() {
                        return Err(io::Error::other("a reply without a status"));
                    }
                }
                Kind::Headers => {
                    let status = self.statuses.read(frame.header_block()?)?;
                    if frame.ends_stream() {
                        ended(status.ok_or_else(|| io::Error::other("no grpc-status"))?);
                    }
                }
                Kind::WindowUpdate if frame.stream == 0 => {
                    self.window += i64::from(frame.number()?);
                }
                Kind::Settings if !frame.is_acknowledgement() => {
                    frames::acknowledge_settings(&mut self.output);
                }
                Kind::Ping if !frame.is_acknowledgement() => {
                    frames::acknowledge_ping(&mut self.output, frame.payload);
                }
                Kind::Reset | Kind::GoAway => {
                    return Err(io::Error::other("the server ended a call"));
                }
                _ => {}
            }
        }
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        if self.received > WINDOW / 2 {
            frames::window_update(&mut self.output, self.received);
            self.received = 0;
        }
        Ok(())
    }

    /// Makes one call and returns its `grpc-status`.
    pub fn call(&mut self, message: &[u8]) -> io::Result<u8> {
        if !self.ask(message) {
            return Err(io::Error::other("the send window is exhausted"));
        }
        let mut status = None;
        while status.is_none() {
            self.send()?;
            self.receive(|found| status = Some(found))?;
        }
        status.ok_or_else(|| io::Error::other("no reply"))
    }
}
