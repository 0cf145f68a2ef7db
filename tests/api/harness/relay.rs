//! A TLS-terminating proxy between a browser and the server, and a sibling host's pages.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_native_tls::TlsAcceptor;

use super::{
    PATIENCE,
    certificate::Authority,
    raw::{Http1Response, parse_http1},
};

/// A proxied request, and its response.
#[derive(Debug)]
pub struct Exchange {
    /// Method and path.
    pub line: String,
    /// The raw `Cookie` headers.
    pub cookies: Vec<u8>,
    pub response: Http1Response,
}

/// A proxy on a free port, which closes each connection after one request.
pub struct Relay {
    pub port: u16,
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

/// A running proxy, which ends when dropped.
pub struct Relaying {
    exchanges: mpsc::UnboundedReceiver<Exchange>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A proxy with a certificate for this host.
    pub async fn bind(host: &str) -> Self {
        let identity = Authority::new().certify(host);
        let acceptor = native_tls::TlsAcceptor::new(identity).expect("an acceptor");
        let listener = listen().await;
        Self {
            port: port_of(&listener),
            listener,
            acceptor: acceptor.into(),
        }
    }

    /// Forwards requests to a server, except for one path, where it serves a page.
    pub fn to(self, server: SocketAddr, path: &'static str, page: String) -> Relaying {
        let (tell, exchanges) = mpsc::unbounded_channel();
        let page = Arc::new(page);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = self.listener.accept().await.expect("a connection");
                let (acceptor, page, tell) =
                    (self.acceptor.clone(), Arc::clone(&page), tell.clone());
                tokio::spawn(async move {
                    // A browser may open a connection without using it.
                    let mut socket = acceptor.accept(socket).await.ok()?;
                    let (head, body) = read_request(&mut socket).await?;
                    let line = head.lines().next()?.to_owned();
                    if line.contains(&format!(" {path} ")) {
                        return send_page(&mut socket, &page).await;
                    }
                    let (answer, cookies) = pass_on(server, &head, &body).await?;
                    socket.write_all(&answer).await.ok()?;
                    let _ = socket.shutdown().await;
                    let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                    let response = parse_http1(&answer);
                    tell.send(Exchange {
                        line,
                        cookies,
                        response,
                    })
                    .ok()
                });
            }
        });
        Relaying { exchanges, task }
    }
}

impl Relaying {
    /// The exchanges before the one with this request, without the browser's own requests for an
    /// icon.
    pub async fn until(&mut self, last: &str) -> Vec<Exchange> {
        let mut all = Vec::new();
        loop {
            let next = timeout(PATIENCE, self.exchanges.recv()).await;
            let exchange = next.expect("a request in time").expect("a relay");
            if exchange.line == last {
                return all;
            }
            if !exchange.line.contains("favicon") {
                all.push(exchange);
            }
        }
    }
}

impl Drop for Relaying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one page for every request, without TLS; returns the port.
pub async fn serve_page(page: String) -> u16 {
    let listener = listen().await;
    let port = port_of(&listener);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let page = page.clone();
            tokio::spawn(async move {
                read_request(&mut socket).await?;
                send_page(&mut socket, &page).await
            });
        }
    });
    port
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().expect("an address").port()
}

/// The head as Latin-1, since it may have invalid UTF-8, and the body.
async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = bytes.split_off(end);
    let head: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let length = header(&head, "content-length").next();
    let length = length.map_or(Some(0), |value| value.trim().parse().ok())?;
    while body.len() < length {
        if socket.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = head.split("\r\n").filter_map(|line| line.split_once(':'));
    lines
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

async fn pass_on(server: SocketAddr, head: &str, body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut request = Vec::new();
    for line in head.trim_end().split("\r\n") {
        if !line.to_ascii_lowercase().starts_with("connection:") {
            request.extend(latin1(line));
            request.extend(b"\r\n");
        }
    }
    request.extend(b"connection: close\r\n\r\n");
    request.extend(body);
    let mut socket = TcpStream::connect(server).await.ok()?;
    socket.write_all(&request).await.ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.ok()?;
    let cookies = header(head, "cookie").collect::<Vec<_>>().join(";");
    Some((answer, latin1(&cookies)))
}

async fn send_page(socket: &mut (impl AsyncWrite + Unpin), page: &str) -> Option<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{page}",
        page.len()
    );
    socket.write_all(answer.as_bytes()).await.ok()?;
    socket.shutdown().await.ok()
}
