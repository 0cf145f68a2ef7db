//! The circumstances of a request, as far as the rules may depend on them.

use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

use uuid::Uuid;

use crate::{deadline::Deadline, domain::Client};

/// Made once by the gateway and passed to every rule. The user agent is borrowed from the
/// headers, since most requests do not need it.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext<'a> {
    client_address: IpAddr,
    user_agent: &'a [u8],
    deadline: Deadline,
    request_id: RequestId,
}

/// The id of a request, in its log lines and in the header `x-request-id` of its response.
/// A random UUID (RFC 9562, version 4), but not a secret: its generator is predictable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new id. Every request gets one, so it comes without a system call.
    pub fn random() -> Self {
        let bytes = fastrand::u128(..).to_ne_bytes();
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl Display for RequestId {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl RequestContext<'static> {
    /// The context of a request from this address, without its headers.
    pub fn new(client_address: IpAddr, deadline: Deadline, request_id: RequestId) -> Self {
        Self {
            client_address,
            user_agent: &[],
            deadline,
            request_id,
        }
    }
}

impl<'a> RequestContext<'a> {
    /// The same context with the bytes of the header `User-Agent`, if there is one.
    pub fn with_user_agent<'b>(&self, user_agent: Option<&'b [u8]>) -> RequestContext<'b> {
        RequestContext {
            user_agent: user_agent.unwrap_or_default(),
            ..*self
        }
    }

    /// The address of the client: the peer's, or the one that a trusted proxy names.
    pub fn client_address(&self) -> IpAddr {
        self.client_address
    }

    /// The bytes of the user agent, which need not be text (RFC 9110, 5.5).
    pub fn user_agent(&self) -> &'a [u8] {
        self.user_agent
    }

    /// The device of the client, with invalid UTF-8 in the user agent replaced.
    pub fn device(&self) -> Client {
        Client::new(
            &String::from_utf8_lossy(self.user_agent),
            self.client_address,
        )
    }

    /// When the caller stops waiting, and the source by which the request is queued.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The id of the request.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;

    #[test]
    fn a_user_agent_need_not_be_text() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let context =
            RequestContext::new(Ipv4Addr::LOCALHOST.into(), deadline, RequestId::random());
        for (sent, kept) in [
            (None, ""),
            (Some(&b""[..]), ""),
            (Some(b"Firefox/1"), "Firefox/1"),
            (
                Some("T\u{E9}l\u{E9}phone".as_bytes()),
                "T\u{E9}l\u{E9}phone",
            ),
            (Some(b"T\xE9l\xE9phone\x7F"), "T\u{FFFD}l\u{FFFD}phone"),
        ] {
            let device = context.with_user_agent(sent).device();
            assert_eq!(&**device.user_agent(), kept);
            assert_eq!(device.ip(), context.client_address());
        }
    }

    #[test]
    fn a_request_id_is_a_random_uuid() {
        let [one, other] = [RequestId::random(), RequestId::random()];
        assert_ne!(one, other);
        let parsed: Uuid = one.to_string().parse().unwrap();
        assert_eq!(parsed.get_version(), Some(uuid::Version::Random));
    }
}
