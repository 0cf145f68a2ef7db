//! A client in the style of Python's `requests`, as used by the Flask service's clients: it
//! keeps its connection and its cookies, encodes forms and follows redirects.

use std::{future::IntoFuture, net::SocketAddr, pin::Pin};

use axum::{
    body::{self, Body},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header},
};
use cookie::{Cookie, time};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use url::form_urlencoded;

use super::PATIENCE;

const FORM: &str = "application/x-www-form-urlencoded";

/// One client program, or one browser.
pub struct Session {
    address: SocketAddr,
    /// Whether it acts as a client behind a TLS-terminating proxy.
    through_tls: bool,
    cookies: Vec<Cookie<'static>>,
    connection: Option<SendRequest<Body>>,
    /// The number of opened connections.
    pub connections: usize,
}

impl Session {
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            through_tls: false,
            cookies: Vec::new(),
            connection: None,
            connections: 0,
        }
    }

    /// A client with https URLs.
    pub fn through_tls(address: SocketAddr) -> Self {
        Self {
            through_tls: true,
            ..Self::new(address)
        }
    }

    pub fn get(&mut self, path: &str) -> Call<'_> {
        self.call("GET", path)
    }

    pub fn post(&mut self, path: &str) -> Call<'_> {
        self.call("POST", path)
    }

    pub fn put(&mut self, path: &str) -> Call<'_> {
        self.call("PUT", path)
    }

    pub fn delete(&mut self, path: &str) -> Call<'_> {
        self.call("DELETE", path)
    }

    pub fn call(&mut self, method: &str, path: &str) -> Call<'_> {
        Call {
            session: self,
            method: method.parse().expect("a method"),
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            allow_redirects: true,
        }
    }

    /// Continues with another server, of the same name.
    pub fn go_to(&mut self, address: SocketAddr) {
        self.address = address;
        self.connection = None;
    }

    /// The value of a kept cookie.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut found = self.cookies.iter().filter(|cookie| cookie.name() == name);
        found.next().map(Cookie::value)
    }

    /// The cookies for a path.
    fn cookies_for(&self, path: &str) -> Option<HeaderValue> {
        let sent: Vec<String> = self
            .cookies
            .iter()
            .filter(|cookie| self.through_tls || cookie.secure() != Some(true))
            .filter(|cookie| {
                let below = cookie.path().unwrap_or("/").trim_end_matches('/');
                path.strip_prefix(below)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .map(|cookie| cookie.stripped().to_string())
            .collect();
        (!sent.is_empty()).then(|| sent.join("; ").parse().expect("a header"))
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for cookie in set_cookies(headers) {
            self.cookies.retain(|kept| kept.name() != cookie.name());
            if cookie
                .max_age()
                .is_none_or(|age| age > time::Duration::ZERO)
            {
                self.cookies.push(cookie);
            }
        }
    }

    async fn send(&mut self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let socket = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            let handshake = http1::handshake(TokioIo::new(socket)).await;
            let (sender, connection) = handshake.expect("a connection");
            tokio::spawn(connection);
            self.connection = Some(sender);
            self.connections += 1;
        }
        let connection = self.connection.as_mut().expect("a connection");
        let answer = timeout(PATIENCE, connection.send_request(request)).await;
        let (head, incoming) = answer
            .expect("a response in time")
            .expect("a response")
            .into_parts();
        let body = body::to_bytes(Body::new(incoming), usize::MAX).await;
        (head.status, head.headers, body.expect("a body").to_vec())
    }
}

/// A request, sent by awaiting it.
pub struct Call<'a> {
    session: &'a mut Session,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
    allow_redirects: bool,
}

impl<'a> Call<'a> {
    /// Sets a form with these fields.
    pub fn data<const N: usize>(self, fields: [(&str, &str); N]) -> Self {
        self.body(FORM, form(&fields))
    }

    /// Sets any other body.
    pub fn body(self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        self.raw_body(body.as_ref())
            .header("content-type", content_type)
    }

    /// Sets a body without a content type.
    pub fn raw_body(self, body: &[u8]) -> Self {
        let body = body.to_vec();
        Self { body, ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a name");
        self.headers.append(name, value.parse().expect("a value"));
        self
    }

    /// Adds a cookie to this request only.
    pub fn cookies(self, name: &str, value: &str) -> Self {
        self.header("cookie", &format!("{name}={value}"))
    }

    pub fn allow_redirects(self, allow_redirects: bool) -> Self {
        Self {
            allow_redirects,
            ..self
        }
    }

    async fn send(mut self) -> Response {
        let mut history = Vec::new();
        loop {
            let mut request = Request::new(Body::from(self.body));
            *request.method_mut() = self.method.clone();
            *request.uri_mut() = self.path.parse().expect("a path");
            *request.headers_mut() = self.headers;
            let headers = request.headers_mut();
            let host = HeaderValue::from_str(&self.session.address.to_string());
            headers.entry(header::HOST).or_insert(host.expect("a host"));
            if let Some(cookies) = self.session.cookies_for(&self.path) {
                headers.append(header::COOKIE, cookies);
            }
            let (status, headers, body) = self.session.send(request).await;
            self.session.keep(&headers);
            let location = headers.get(header::LOCATION);
            if let (true, true, Some(location)) =
                (status.is_redirection(), self.allow_redirects, location)
            {
                assert_eq!(
                    status,
                    StatusCode::FOUND,
                    "a redirect that requests follows with GET"
                );
                history.push(status.as_u16());
                location
                    .to_str()
                    .expect("a path")
                    .clone_into(&mut self.path);
                if self.method != Method::HEAD {
                    self.method = Method::GET;
                }
                (self.headers, self.body) = (HeaderMap::new(), Vec::new());
                continue;
            }
            return Response {
                status_code: status.as_u16(),
                path: self.path,
                headers,
                history,
                body,
            };
        }
    }
}

impl<'a> IntoFuture for Call<'a> {
    type Output = Response;
    type IntoFuture = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// The response, after redirects.
#[derive(Debug)]
pub struct Response {
    pub status_code: u16,
    /// The final path.
    pub path: String,
    pub headers: HeaderMap,
    /// The redirects before it.
    pub history: Vec<u16>,
    body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The `message` of a reply.
    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .expect("a message")
            .to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a cookie in the response.
    pub fn cookie(&self, name: &str) -> Option<String> {
        let mut found = set_cookies(&self.headers).filter(|cookie| cookie.name() == name);
        found.next().map(|cookie| cookie.value().to_owned())
    }
}

/// `a=1&b=2`.
pub fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

fn set_cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'static>> {
    let values = headers.get_all(header::SET_COOKIE).iter();
    values.map(|value| {
        let text = value.to_str().expect("ASCII").to_owned();
        Cookie::parse(text).expect("a cookie")
    })
}
