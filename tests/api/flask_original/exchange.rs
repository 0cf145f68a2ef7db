//! A request to both services, and an answer in a form in which the two can be
//! compared.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use serde_json::Value;

use super::differences::Difference;
use crate::harness::raw::{self, Http1Response};

const FORM: &str = "application/x-www-form-urlencoded";

/// A request. `{me}` in it is the e-mail of the conversation; `{session}` and `{token}` are
/// what the service gave last, `{session1}` and `{token1}` what it gave first.
pub struct Request {
    pub method: &'static str,
    pub path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// How much time passes first on Bienvenue's clock.
    pub later: Duration,
    pub expected: Expected,
}

/// How the answers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Equal,
    /// The two statuses, the original's first, and why something differs.
    Differs(u16, u16, Difference),
}

/// A request without a body.
pub fn request(method: &'static str, path: &'static str) -> Request {
    Request {
        method,
        path,
        headers: Vec::new(),
        body: Vec::new(),
        later: Duration::ZERO,
        expected: Expected::Equal,
    }
}

/// A request with a form.
pub fn form(method: &'static str, path: &'static str, body: impl AsRef<[u8]>) -> Request {
    request(method, path).body(FORM, body)
}

impl Request {
    pub fn body(self, content_type: &'static str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref().to_vec();
        Self { body, ..self }.header("content-type", content_type)
    }

    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn cookie(self, value: &'static str) -> Self {
        self.header("cookie", value)
    }

    pub fn later(self, later: Duration) -> Self {
        Self { later, ..self }
    }

    pub fn differs(self, original: u16, own: u16, why: Difference) -> Self {
        let expected = Expected::Differs(original, own, why);
        Self { expected, ..self }
    }

    /// Sends it to one of the services.
    pub async fn send(&self, address: SocketAddr, memory: &mut Memory) -> Answer {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(name, value)| (*name, memory.fill(value)))
            .collect();
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let body = match std::str::from_utf8(&self.body) {
            Ok(text) => memory.fill(text).into_bytes(),
            Err(_) => self.body.clone(),
        };
        let response = raw::http1(address, self.method, self.path, &headers, &body).await;
        memory.keep(&response);
        memory.answer(&response)
    }

    /// The request in one line.
    pub fn summary(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let body: String = body.chars().take(90).collect();
        format!("{} {} {:?} {body:?}", self.method, self.path, self.headers)
    }
}

/// What one service has given in a conversation.
pub struct Memory {
    email: String,
    sessions: Vec<String>,
    tokens: Vec<String>,
}

impl Memory {
    pub fn new(email: String) -> Self {
        Self {
            email,
            sessions: Vec::new(),
            tokens: Vec::new(),
        }
    }

    fn fill(&self, template: &str) -> String {
        let mut filled = template.replace("{me}", &self.email);
        for (name, value) in [
            ("{session}", self.sessions.last()),
            ("{session1}", self.sessions.first()),
            ("{token}", self.tokens.last()),
            ("{token1}", self.tokens.first()),
        ] {
            if let Some(value) = value {
                filled = filled.replace(name, value);
            }
        }
        filled
    }

    fn keep(&mut self, response: &Http1Response) {
        let cookies = set_cookies(response).map(|cookie| cookie.value);
        self.sessions
            .extend(cookies.filter(|value| !value.is_empty()));
        let body: Option<Value> = serde_json::from_slice(&response.body).ok();
        let token = body.as_ref().and_then(|body| body["reset_token"].as_str());
        self.tokens.extend(token.map(str::to_owned));
    }

    /// The answer, with names in place of random values.
    fn answer(&self, response: &Http1Response) -> Answer {
        let own = |name: &str| response.header(name).map(str::to_owned);
        let mut body = String::from_utf8_lossy(&response.body).into_owned();
        for token in &self.tokens {
            body = body.replace(token, "<token>");
        }
        let cookies = set_cookies(response).map(|mut cookie| {
            if self.sessions.contains(&cookie.value) {
                cookie.value = "<session_id>".to_owned();
            }
            cookie
        });
        Answer {
            status: response.status,
            reason: response.reason.clone(),
            content_type: own("content-type"),
            allow: own("allow")
                .map(|allow| allow.split(',').map(|one| one.trim().to_owned()).collect()),
            location: own("location"),
            cookies: cookies.collect(),
            body,
        }
    }
}

/// An answer without random values and without details that no client depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub content_type: Option<String>,
    pub allow: Option<BTreeSet<String>>,
    pub location: Option<String>,
    pub cookies: Vec<SetCookie>,
    pub body: String,
}

/// A cookie that an answer sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetCookie {
    pub name: String,
    pub value: String,
    pub attributes: BTreeSet<String>,
}

fn set_cookies(response: &Http1Response) -> impl Iterator<Item = SetCookie> {
    let headers = response.headers.iter();
    headers
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, header)| {
            let mut parts = header.split("; ");
            let pair = parts.next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a name and a value");
            SetCookie {
                name: name.to_owned(),
                value: value.to_owned(),
                attributes: parts.map(str::to_owned).collect(),
            }
        })
}
