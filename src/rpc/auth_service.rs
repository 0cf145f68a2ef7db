//! `bienvenue.v1.AuthService`.

use tonic::{Request, Response, Status};

use super::messages;
use crate::{
    auth::{Auth, AuthError},
    domain::Client,
    peer::Peer,
    proto::v1::{
        GetUserBySessionRequest, GetUserBySessionResponse, LoginRequest, LoginResponse,
        LogoutRequest, LogoutResponse, RegisterRequest, RegisterResponse,
        auth_service_server::AuthService,
    },
};

/// Parse, call `Auth`, answer.
pub struct AuthRpc {
    auth: Auth,
}

impl AuthRpc {
    /// Serves these rules.
    pub fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[tonic::async_trait]
impl AuthService for AuthRpc {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let RegisterRequest { email, password } = request.into_inner();
        let user = self.auth.register_user(&email, password).await?;
        Ok(Response::new(RegisterResponse {
            user: Some(messages::user(&user)),
        }))
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<LoginResponse>, Status> {
        let client = client(&request)?;
        let LoginRequest { email, password } = request.into_inner();
        let user = self.auth.valid_login(&email, password).await?;
        let opened = self.auth.create_session(&user, client).await?;
        Ok(Response::new(LoginResponse {
            session_id: opened.token.expose().to_owned(),
            session: Some(messages::current_session(&opened.live)),
            user: Some(messages::user(&user)),
        }))
    }

    async fn get_user_by_session(
        &self,
        request: Request<GetUserBySessionRequest>,
    ) -> Result<Response<GetUserBySessionResponse>, Status> {
        let (user, live) = self
            .auth
            .get_user_from_session_id(&request.get_ref().session_id)
            .await?;
        Ok(Response::new(GetUserBySessionResponse {
            user: Some(messages::user(&user)),
            session: Some(messages::current_session(&live)),
        }))
    }

    async fn logout(
        &self,
        request: Request<LogoutRequest>,
    ) -> Result<Response<LogoutResponse>, Status> {
        self.auth
            .destroy_session(&request.get_ref().session_id)
            .await?;
        Ok(Response::new(LogoutResponse {}))
    }
}

/// Who is asking, as far as the request and its connection tell.
fn client<T>(request: &Request<T>) -> Result<Client, AuthError> {
    let user_agent = request
        .metadata()
        .get("user-agent")
        .and_then(|value| value.to_str().ok());
    let peer = request
        .extensions()
        .get::<Peer>()
        .ok_or_else(|| AuthError::Internal("the request has no peer".into()))?;
    Ok(peer.client(user_agent))
}
