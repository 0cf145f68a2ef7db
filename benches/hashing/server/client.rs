//! The requests to the server.

use std::{net::SocketAddr, ops::Range, time::Duration};

use bienvenue::proto::v1::{
    GetUserBySessionRequest, LoginRequest, RegisterRequest, auth_service_client::AuthServiceClient,
};
use tokio::{task::JoinSet, time};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// One connection, which clones share.
#[derive(Clone)]
pub struct Client(AuthServiceClient<Channel>);

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = endpoint.connect().await.expect("a connection");
        Self(AuthServiceClient::new(channel))
    }

    /// Several connections, since the concurrent requests of each are limited.
    pub async fn connect_many(address: SocketAddr, connections: usize) -> Vec<Self> {
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            clients.push(Self::connect(address).await);
        }
        clients
    }

    /// Registers users concurrently, with retries while the server is overloaded.
    pub async fn register(&self, users: Range<usize>) {
        let registrations = users.map(|user| {
            let mut client = self.0.clone();
            async move {
                let request = RegisterRequest {
                    email: email(user),
                    password: PASSWORD.to_owned(),
                };
                while let Err(status) = client.register(request.clone()).await {
                    assert!(is_overloaded(&status), "no registration: {status}");
                    time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        registrations.collect::<JoinSet<()>>().join_all().await;
    }

    /// Logs a registered user in. Returns the `session_id`.
    pub async fn login(&self, user: usize) -> Result<String, Status> {
        let request = LoginRequest {
            email: email(user),
            password: PASSWORD.to_owned(),
        };
        let response = self.0.clone().login(request).await?;
        Ok(response.into_inner().session_id)
    }

    /// Requests the user of a session.
    pub async fn check(&self, session_id: &str) -> Result<(), Status> {
        let request = GetUserBySessionRequest {
            session_id: session_id.to_owned(),
        };
        let response = self.0.clone().get_user_by_session(request).await;
        response.map(drop)
    }
}

/// Whether a login was refused for lack of hashing capacity.
pub fn is_overloaded(status: &Status) -> bool {
    let info = status.get_details_error_info();
    status.code() == tonic::Code::ResourceExhausted
        && info.is_some_and(|info| info.reason == "OVERLOADED")
}

const PASSWORD: &str = "correct horse battery";

fn email(user: usize) -> String {
    format!("user{user}@example.com")
}
