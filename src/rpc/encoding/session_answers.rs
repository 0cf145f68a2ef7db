//! `GetUserBySession` and `BatchGetUserBySession` for native callers: answers are
//! written straight into the reply. To make and to free the generated messages would
//! be most of what an answer from memory costs.

use std::{
    convert::Infallible,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use axum::http;
use bytes::BufMut;
use chrono::{DateTime, Utc};
use hyper::body::Incoming;
use prost::Message;
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    codegen::BoxFuture,
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use super::{
    fields::Fields,
    messages::{self, MOST_IN_WORDS},
    reply_room::{self, peer},
    session_ids::SessionIds,
};
use crate::rpc::{
    auth::{AuthRpc, misplaced_secrets},
    methods,
};
use crate::{
    auth::{Auth, AuthError, CheckedSession},
    proto::v1::{GetUserBySessionRequest, auth_service_server::AuthServiceServer},
};

const ONE: &str = "/bienvenue.v1.AuthService/GetUserBySession";
const BATCH: &str = "/bienvenue.v1.AuthService/BatchGetUserBySession";

type Outcome = Result<CheckedSession, AuthError>;

/// `bienvenue.v1.AuthService`, generated but for two methods.
#[derive(Clone)]
pub struct AuthServer {
    auth: Arc<Auth>,
    generated: AuthServiceServer<AuthRpc>,
    max_message_size: usize,
}

impl AuthServer {
    /// Serves these rules, and reads messages of at most so many bytes.
    pub fn new(auth: Auth, max_message_size: usize) -> Self {
        let generated = AuthServiceServer::new(AuthRpc::new(auth.clone()));
        Self {
            auth: Arc::new(auth),
            generated: generated.max_decoding_message_size(max_message_size),
            max_message_size,
        }
    }
}

impl NamedService for AuthServer {
    const NAME: &'static str = <AuthServiceServer<AuthRpc> as NamedService>::NAME;
}

impl Service<http::Request<Incoming>> for AuthServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let checks = Checks(Arc::clone(&self.auth));
        match request.uri().path() {
            ONE => self.answer::<GetUserBySessionRequest, _>(checks, request),
            BATCH => self.answer::<SessionIds, _>(checks, request),
            path if methods::is_known(path) => self.generated.call(request),
            _ => unknown_method(),
        }
    }
}

impl AuthServer {
    fn answer<Q, C>(
        &self,
        checks: C,
        request: http::Request<Incoming>,
    ) -> BoxFuture<http::Response<Body>, Infallible>
    where
        Q: Message + Default + 'static,
        C: UnaryService<Q, Response: Answer, Future: Send> + Send + 'static,
    {
        let answers = Answers(PhantomData);
        let mut grpc =
            Grpc::new(answers).apply_max_message_size_config(Some(self.max_message_size), None);
        Box::pin(async move { Ok(grpc.unary(checks, request).await) })
    }
}

/// A call from a browser is one of few.
impl Service<http::Request<Body>> for AuthServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match methods::is_known(request.uri().path()) {
            true => self.generated.call(request),
            false => unknown_method(),
        }
    }
}

fn unknown_method() -> BoxFuture<http::Response<Body>, Infallible> {
    let response = methods::unknown(AuthServer::NAME).into_http();
    Box::pin(async { Ok(response) })
}

struct Checks(Arc<Auth>);

impl UnaryService<GetUserBySessionRequest> for Checks {
    type Response = CheckedSession;
    type Future = BoxFuture<Response<CheckedSession>, Status>;

    fn call(&mut self, request: Request<GetUserBySessionRequest>) -> Self::Future {
        let auth = Arc::clone(&self.0);
        Box::pin(async move {
            let session_id = &request.get_ref().session_id;
            match auth.get_user_from_session_id(session_id).await {
                Ok(checked) => Ok(Response::new(checked)),
                Err(error) => {
                    let metadata = request.metadata();
                    Err(misplaced_secrets::of_session(error, session_id, metadata))
                }
            }
        })
    }
}

impl UnaryService<SessionIds> for Checks {
    type Response = Vec<Outcome>;
    type Future = BoxFuture<Response<Vec<Outcome>>, Status>;

    fn call(&mut self, request: Request<SessionIds>) -> Self::Future {
        let auth = Arc::clone(&self.0);
        Box::pin(async move {
            let peer = peer(&request)?;
            let session_ids = request.get_ref().to_vec();
            let room = reply_room::take(peer, messages::batch_bytes(session_ids.len())).await?;
            let outcomes = auth.get_users_from_session_ids(&session_ids).await?;
            if outcomes.iter().any(Result::is_ok) {
                peer.traffic().note_recognised();
            }
            Ok(reply_room::respond(outcomes, room))
        })
    }
}

/// Room for an answer: most are shorter.
const ROOM: usize = 320;

/// The same for a refused session of a batch.
const REFUSAL: usize = 32;

/// What a reply begins with, and how much of it is handed on at once: all of it.
const BUFFER: usize = ROOM + 5;
const YIELD: usize = 128 * 1024;

/// What is written without a generated message.
trait Answer: Send + 'static {
    /// How many bytes it will hardly exceed.
    fn room(&self) -> usize;

    fn write(&self, response: &mut impl BufMut);
}

impl Answer for CheckedSession {
    fn room(&self) -> usize {
        ROOM
    }

    fn write(&self, response: &mut impl BufMut) {
        let mut fields = Fields::with_room(ROOM);
        answer(&mut fields, self);
        response.put_slice(fields.as_bytes());
    }
}

impl Answer for Vec<Outcome> {
    fn room(&self) -> usize {
        let found = self.iter().filter(|outcome| outcome.is_ok()).count();
        ROOM * found + REFUSAL * (self.len() - found)
    }

    fn write(&self, response: &mut impl BufMut) {
        // One after the other in the same few cache lines.
        let mut fields = Fields::with_room(ROOM);
        let mut refused = 0;
        for outcome in self {
            fields.clear();
            fields.message(1, |result| match outcome {
                Ok(checked) => result.message(1, |found| answer(found, checked)),
                Err(error) => result.message(2, |refusal| {
                    refused += 1;
                    if refused <= MOST_IN_WORDS {
                        refusal.text(2, &error.to_string());
                    }
                    refusal.text(1, error.code().reason());
                }),
            });
            response.put_slice(fields.as_bytes());
        }
    }
}

/// Reads what is generated, and writes what is not.
struct Answers<A, Q>(PhantomData<fn(A) -> Q>);

impl<A: Answer, Q: Message + Default + 'static> Codec for Answers<A, Q> {
    type Encode = A;
    type Decode = Q;
    type Encoder = Self;
    type Decoder = <ProstCodec<(), Q> as Codec>::Decoder;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), Q>::default().decoder()
    }
}

impl<A: Answer, Q> Encoder for Answers<A, Q> {
    type Item = A;
    type Error = Status;

    fn buffer_settings(&self) -> BufferSettings {
        // Room is made for each answer; the default begins with 8 KiB.
        BufferSettings::new(BUFFER, YIELD)
    }

    fn encode(&mut self, answer: A, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(answer.room());
        answer.write(buffer);
        Ok(())
    }
}

/// The numbers are those of the fields in `proto/`; the last stands first.
fn answer(found: &mut Fields, checked: &CheckedSession) {
    let (owner, session) = (&checked.owner, &checked.live.session);
    found.message(4, |duration| {
        duration.integer(2, checked.cache_for.subsec_nanos().into());
        // At most a setting's ten years.
        duration.integer(1, checked.cache_for.as_secs().cast_signed());
    });
    found.integer(3, checked.revision.0);
    found.message(2, |fields| {
        fields.integer(7, 1);
        fields.address(6, session.client.ip());
        fields.text(5, session.client.user_agent());
        timestamp(fields, 4, checked.live.expires_at);
        timestamp(fields, 3, session.last_seen_at);
        timestamp(fields, 2, session.created_at);
        fields.text(1, session.handle.encode(&mut [0; 36]));
    });
    found.message(1, |user| {
        timestamp(user, 3, owner.created_at);
        user.text(2, owner.email.as_str());
        user.integer(1, owner.id.0);
    });
}

fn timestamp(fields: &mut Fields, field: u8, time: DateTime<Utc>) {
    fields.message(field, |timestamp| {
        timestamp.integer(2, time.timestamp_subsec_nanos().into());
        timestamp.integer(1, time.timestamp());
    });
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use proptest::prelude::*;

    use super::*;
    use crate::{
        auth::LiveSession,
        domain::{
            Client, CredentialVersion, Email, Revision, Session, SessionHandle, SessionOwner,
            UserId,
        },
        proto::v1::BatchGetUserBySessionResponse,
    };

    fn moment() -> impl Strategy<Value = DateTime<Utc>> {
        // From the year 1 to 9999: what a Timestamp may be.
        (-62_135_596_800_000_000..253_402_300_800_000_000_i64)
            .prop_map(|time| DateTime::from_timestamp_micros(time).unwrap())
    }

    prop_compose! {
        fn checked()(
            times in [moment(), moment(), moment(), moment()],
            user_id in any::<i64>(),
            local in "[a-z]{1,60}",
            user_agent in "\\PC{0,300}",
            ip in any::<IpAddr>(),
            revision in 0_i64..,
            cache_for in any::<u32>(),
        ) -> CheckedSession {
            let session = Session {
                handle: SessionHandle::generate(),
                user_id: UserId(user_id),
                credential_version: CredentialVersion(1),
                created_at: times[0],
                last_seen_at: times[1],
                client: Client::new(&user_agent, ip),
            };
            CheckedSession {
                owner: SessionOwner {
                    id: UserId(user_id),
                    email: Email::parse(&format!("{local}@example.com")).unwrap(),
                    created_at: times[2],
                },
                live: LiveSession { session, expires_at: times[3] },
                revision: Revision(revision),
                cache_for: Duration::from_micros(cache_for.into()),
            }
        }
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            3 => checked().prop_map(Ok),
            1 => Just(()).prop_map(|()| Err(AuthError::SessionInvalid)),
            1 => Just(()).prop_map(|()| Err(AuthError::Internal("x".into()))),
        ]
    }

    proptest! {
        /// It is what the generated messages would be, to the byte.
        #[test]
        fn it_writes_what_is_generated(outcomes in proptest::collection::vec(outcome(), 0..60)) {
            let mut written = Vec::new();
            outcomes.write(&mut written);
            let results = messages::outcomes(outcomes);
            let generated = BatchGetUserBySessionResponse { results };
            prop_assert_eq!(written, generated.encode_to_vec());
        }
    }
}
