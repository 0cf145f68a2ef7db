//! The baseline: a unary call through tonic's own server, with the same messages and settings
//! and a constant reply.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time,
};

use bienvenue::proto::v1::{GetUserBySessionRequest, GetUserBySessionResponse, Session, User};
use prost_types::{Duration, Timestamp};
use tokio::runtime::Builder;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

/// Prints its address and serves until killed.
pub fn serve() {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let incoming = TcpIncoming::bind(any).expect("a port");
        let address = incoming.local_addr().expect("its number");
        println!("listening on {address}");
        // The defaults of `LimitSettings`, and the fixed settings of the HTTP server.
        Server::builder()
            .timeout(time::Duration::from_secs(5))
            .concurrency_limit_per_connection(256)
            .load_shed(true)
            .max_concurrent_streams(256)
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(256 * 1024)
            .http2_max_header_list_size(8 * 1024)
            .http2_max_local_error_reset_streams(Some(256))
            .http2_keepalive_interval(Some(time::Duration::from_secs(5)))
            .http2_keepalive_timeout(Some(time::Duration::from_secs(5)))
            .max_connection_age(time::Duration::from_secs(1_800))
            .max_connection_age_grace(time::Duration::from_secs(10))
            .add_service(AnyPath)
            .serve_with_incoming(incoming.with_nodelay(Some(true)))
            .await
            .expect("it serves");
    });
}

/// The service as generated, except for unused methods.
#[derive(Clone)]
struct AnyPath;

impl NamedService for AnyPath {
    const NAME: &'static str = "bienvenue.v1.AuthService";
}

impl Service<http::Request<Body>> for AnyPath {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.unary(GetUserBySession, request).await)
        })
    }
}

struct GetUserBySession;

impl UnaryService<GetUserBySessionRequest> for GetUserBySession {
    type Response = GetUserBySessionResponse;
    type Future = Pin<Box<Ready<Result<Response<Self::Response>, Status>>>>;

    fn call(&mut self, request: Request<GetUserBySessionRequest>) -> Self::Future {
        let message = request.into_inner();
        // An incomplete request must not count as a fast reply.
        let answer = match message.session_id.len() {
            48 => Ok(Response::new(answer())),
            _ => Err(Status::invalid_argument("not a session_id")),
        };
        Box::pin(ready(answer))
    }
}

const BROWSER: &str = "Mozilla/5.0 (X11; CrOS x86_64 14541) AppleWebKit/537.36 (KHTML, like \
                       Gecko) Chrome/138.0.0.0 Safari/537.36";

/// As long as the average reply about the inserted sessions.
fn answer() -> GetUserBySessionResponse {
    let at = |seconds| {
        Some(Timestamp {
            seconds,
            nanos: 123_456_000,
        })
    };
    GetUserBySessionResponse {
        user: Some(User {
            id: 523_456,
            email: "user523456@example.com".to_owned(),
            created_at: at(1_790_000_000),
        }),
        session: Some(Session {
            handle: "67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned(),
            created_at: at(1_790_000_000),
            last_seen_at: at(1_790_003_600),
            expires_at: at(1_790_608_400),
            user_agent: BROWSER.to_owned(),
            ip: "10.7.123.45".to_owned(),
            current: true,
        }),
        revision: 1_234_567,
        cache_for: Some(Duration {
            seconds: 59,
            nanos: 123_456_000,
        }),
    }
}
