//! Raw HTTP, for requests that well-behaved clients do not make.

use std::net::SocketAddr;

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code, Status,
    codegen::{Service as _, http},
    transport::Channel,
};

use super::PATIENCE;

/// A gRPC frame: flag, length, message.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a small message");
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A message in its frame.
pub fn framed(message: &impl Message) -> Vec<u8> {
    frame(&message.encode_to_vec())
}

/// One HTTP/2 request with any method, headers and body.
pub async fn h2(
    channel: &Channel,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> http::Response<tonic::body::Body> {
    h2_with(channel, method, path, headers, Body::from(body)).await
}

/// Like [`h2`], with a streamed body.
pub async fn h2_with(
    channel: &Channel,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> http::Response<tonic::body::Body> {
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("http://server{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .body(tonic::body::Body::new(body))
        .expect("a request");
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .expect("a connection");
    timeout(PATIENCE, channel.call(request))
        .await
        .expect("a response in time")
        .expect("a response")
}

/// The status of a gRPC response without a body.
pub fn status_of<B>(response: &http::Response<B>) -> Status {
    Status::from_header_map(response.headers())
        .unwrap_or_else(|| Status::new(Code::Ok, response.status().to_string()))
}

/// The body as text.
pub async fn text_of(response: http::Response<tonic::body::Body>) -> String {
    let body = Body::new(response.into_body());
    let bytes = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a body");
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// An HTTP/1.1 response.
#[derive(Debug)]
pub struct Http1Response {
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Http1Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }
}

/// One HTTP/1.1 request on a new connection.
pub async fn http1(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Http1Response {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    let is_chunked = headers.iter().any(|(name, _)| *name == "transfer-encoding");
    if (!body.is_empty() || method == "POST") && !is_chunked {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut socket = TcpStream::connect(address).await.expect("a connection");
    socket
        .write_all(&[request.as_bytes(), body].concat())
        .await
        .expect("a request");
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer))
        .await
        .expect("a response in time")
        .expect("a response");
    parse_http1(&answer)
}

/// Parses a complete response.
pub fn parse_http1(answer: &[u8]) -> Http1Response {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let head = std::str::from_utf8(&answer[..end]).expect("a head in ASCII");
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.get(9..12);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = &answer[end + 4..];
    Http1Response {
        status: status.and_then(|code| code.parse().ok()).expect("a status"),
        reason: first.get(13..).unwrap_or_default().to_owned(),
        body: if chunked {
            unchunk(body)
        } else {
            body.to_vec()
        },
        headers,
    }
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|window| window == b"\r\n");
        let line = line.expect("a chunk size");
        let size = std::str::from_utf8(&body[..line]).expect("a chunk size");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            return whole;
        }
        whole.extend(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
}

/// The two encodings of gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Web {
    Binary,
    Text,
}

impl Web {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Text => "application/grpc-web-text+proto",
        }
    }

    /// Sends bytes as the body of a call and reads the response like a gRPC-Web client.
    pub async fn call_raw(
        self,
        address: SocketAddr,
        method: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Status> {
        let body = match self {
            Self::Binary => body.to_vec(),
            Self::Text => STANDARD.encode(body).into_bytes(),
        };
        let path = format!("/bienvenue.v1.AuthService/{method}");
        let content_type = self.content_type();
        let headers = [("content-type", content_type), ("accept", content_type)];
        self.read(&http1(address, "POST", &path, &headers, &body).await)
    }

    /// One unary call.
    pub async fn call<T: Message + Default>(
        self,
        address: SocketAddr,
        method: &str,
        request: &impl Message,
    ) -> Result<T, Status> {
        let message = self.call_raw(address, method, &framed(request)).await?;
        Ok(T::decode(message.as_slice()).expect("the response's message"))
    }

    fn read(self, response: &Http1Response) -> Result<Vec<u8>, Status> {
        assert_eq!(response.status, 200, "{response:?}");
        let content_type = response.header("content-type").unwrap_or_default();
        assert_eq!(content_type, self.content_type(), "{response:?}");
        if response
            .header("grpc-status")
            .is_some_and(|code| code != "0")
        {
            return Err(status(&response.headers));
        }
        let body = match self {
            Self::Binary => response.body.clone(),
            // Each flush is encoded and padded separately, so decode in groups of four.
            Self::Text => response
                .body
                .chunks(4)
                .flat_map(|quad| STANDARD.decode(quad).expect("base64"))
                .collect(),
        };
        let (mut message, mut trailers) = (None, None);
        let mut rest = body.as_slice();
        while let [flag, a, b, c, d, after @ ..] = rest {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            match flag {
                0 => message = Some(after[..length].to_vec()),
                0x80 => trailers = Some(after[..length].to_vec()),
                other => panic!("flag {other}"),
            }
            rest = &after[length..];
        }
        let trailers = String::from_utf8(trailers.expect("trailers")).expect("ASCII trailers");
        let trailers: Vec<(String, String)> = trailers
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let status = status(&trailers);
        match status.code() {
            Code::Ok => Ok(message.expect("a message")),
            _ => Err(status),
        }
    }
}

/// The status in trailers, or in headers of a response without a body.
pub fn status(trailers: &[(String, String)]) -> Status {
    let mut headers = http::HeaderMap::new();
    for (name, value) in trailers
        .iter()
        .filter(|(name, _)| name.starts_with("grpc-"))
    {
        headers.insert(
            http::HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            value.parse().expect("a value"),
        );
    }
    Status::from_header_map(&headers).expect("a status")
}
