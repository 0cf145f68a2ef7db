//! An HTTP/2 client (RFC 9113) that controls how much it reads, from any address of this
//! machine.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// The time limit for the server.
const PATIENCE: Duration = Duration::from_secs(30);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The received frames of a connection so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Responses with an outstanding body.
    pub heads: usize,
    /// Responses without a body: a gRPC status only.
    pub refusals: usize,
    /// Streams ended after a body.
    pub ends: usize,
    /// Streams reset by the server.
    pub resets: usize,
    /// Bytes of bodies.
    pub body: usize,
    /// Whether the server sent GOAWAY.
    pub goaway: bool,
}

impl Seen {
    pub fn answers(&self) -> usize {
        self.heads + self.refusals
    }
}

/// A connection, from an address of choice.
pub struct H2 {
    socket: TcpStream,
    next_stream: u32,
    input: Vec<u8>,
    /// Streams with a received head and an outstanding end.
    begun: HashSet<u32>,
    /// Reset streams, which the server may reset again for later frames.
    reset: HashSet<u32>,
    pub seen: Seen,
}

/// Connects from an address of this machine, such as one of 127.0.0.0/8.
pub async fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

impl H2 {
    /// A connection with this initial window per stream.
    pub async fn open(address: SocketAddr, window: u32) -> io::Result<Self> {
        Self::begin(TcpStream::connect(address).await?, window).await
    }

    /// Like [`H2::open`], from an address of this machine.
    pub async fn open_from(from: IpAddr, to: SocketAddr, window: u32) -> io::Result<Self> {
        Self::begin(connect_from(from, to).await?, window).await
    }

    async fn begin(mut socket: TcpStream, window: u32) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        socket.write_all(PREFACE).await?;
        let mut connection = Self {
            socket,
            next_stream: 1,
            input: Vec::new(),
            begun: HashSet::new(),
            reset: HashSet::new(),
            seen: Seen::default(),
        };
        connection.set_window(window).await?;
        Ok(connection)
    }

    /// Sets the initial window of each stream.
    pub async fn set_window(&mut self, window: u32) -> io::Result<()> {
        let setting = [&[0, 4], window.to_be_bytes().as_slice()].concat();
        self.send(&frame(SETTINGS, 0, 0, &setting)).await
    }

    /// Calls a method of the `AuthService` with a framed message.
    pub async fn call(&mut self, method: &str, body: &[u8]) -> io::Result<()> {
        let whole = [self.head(method), self.data(body, END_STREAM)].concat();
        self.next_stream += 2;
        self.send(&whole).await
    }

    /// Cancels all calls so far and makes as many new ones of a method, in one write.
    pub async fn cancel_and_call(&mut self, method: &str, body: &[u8]) -> io::Result<()> {
        const CANCEL: [u8; 4] = [0, 0, 0, 8];
        let before = (1..self.next_stream).step_by(2);
        let resets = before.map(|stream| frame(RST_STREAM, 0, stream, &CANCEL));
        let mut whole: Vec<Vec<u8>> = resets.collect();
        for _ in 0..whole.len() {
            whole.extend([self.head(method), self.data(body, END_STREAM)]);
            self.next_stream += 2;
        }
        self.send(&whole.concat()).await
    }

    /// Sends a request with a head of this many bytes, in frames of 16 KiB.
    pub async fn call_with_head(&mut self, method: &str, bytes: usize) -> io::Result<()> {
        let mut block = self.head(method).split_off(9);
        while block.len() < bytes {
            // Literal without indexing, as in `head`.
            block.extend([0, 1, b'x', 100]);
            block.extend([b'y'; 100]);
        }
        let whole = frame(HEADERS, END_STREAM | END_HEADERS, self.next_stream, &block);
        self.next_stream += 2;
        self.send(&whole).await
    }

    /// Begins a call without sending the end of its body.
    pub async fn begin_call(&mut self, method: &str) -> io::Result<()> {
        let head = self.head(method);
        self.next_stream += 2;
        self.send(&head).await
    }

    fn head(&self, method: &str) -> Vec<u8> {
        let path = format!("/bienvenue.v1.AuthService/{method}");
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", &path),
            (":authority", "server"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            // Literal without indexing, without Huffman coding (RFC 7541, 6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("a short text"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        frame(HEADERS, END_HEADERS, self.next_stream, &block)
    }

    fn data(&self, body: &[u8], flags: u8) -> Vec<u8> {
        frame(DATA, flags, self.next_stream, body)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Reads, and answers SETTINGS and PING, until a condition holds or the server closes the
    /// connection.
    pub async fn until(&mut self, enough: impl Fn(&Seen) -> bool) -> io::Result<Seen> {
        let seen = timeout(PATIENCE, self.read_until(enough)).await;
        seen.unwrap_or_else(|_| panic!("the condition does not hold in time: {:?}", self.seen))
    }

    /// Waits until the server closes the connection.
    pub async fn until_closed(&mut self) -> Seen {
        match self.until(|_| false).await {
            // A reset is an end, too.
            Ok(seen) => seen,
            Err(_) => self.seen,
        }
    }

    /// Waits until the server serves the connection and has sent its SETTINGS; false where it
    /// closes the connection instead.
    pub async fn is_served(&mut self) -> bool {
        let mut head = [0; 9];
        let read = timeout(PATIENCE, self.socket.read_exact(&mut head)).await;
        let is_read = read.expect("SETTINGS or the end of the connection").is_ok();
        self.input.extend_from_slice(&head);
        is_read
    }

    async fn read_until(&mut self, enough: impl Fn(&Seen) -> bool) -> io::Result<Seen> {
        let mut buffer = vec![0; 64 * 1024];
        while !enough(&self.seen) {
            let read = self.socket.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            self.input.extend_from_slice(&buffer[..read]);
            let mut answers = Vec::new();
            while let Some(whole) = whole_frame(&self.input) {
                let frame: Vec<u8> = self.input.drain(..whole).collect();
                self.see(&frame, &mut answers);
            }
            self.send(&answers).await?;
        }
        Ok(self.seen)
    }

    fn see(&mut self, whole: &[u8], answers: &mut Vec<u8>) {
        let (head, payload) = whole.split_at(9);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let seen = &mut self.seen;
        match kind {
            HEADERS if flags & END_STREAM == 0 => {
                seen.heads += 1;
                self.begun.insert(stream);
            }
            HEADERS if self.begun.remove(&stream) => seen.ends += 1,
            HEADERS => seen.refusals += 1,
            DATA => {
                seen.body += payload.len();
                let more = u32::try_from(payload.len()).expect("a short frame");
                if more > 0 {
                    answers.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
                }
            }
            RST_STREAM => seen.resets += usize::from(self.reset.insert(stream)),
            GOAWAY => seen.goaway = true,
            SETTINGS if flags & ACK == 0 => answers.extend(frame(SETTINGS, ACK, 0, &[])),
            PING if flags & ACK == 0 => answers.extend(frame(PING, ACK, 0, payload)),
            _ => {}
        }
    }
}

fn whole_frame(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_be_bytes([0, *bytes.first()?, *bytes.get(1)?, *bytes.get(2)?]);
    let whole = 9 + length as usize;
    (bytes.len() >= whole).then_some(whole)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}
