//! `bienvenue.v1.AuthService`.

pub(crate) mod misplaced_secrets;

use tonic::{Request, Response, Status, metadata::MetadataValue};

use super::encoding::{
    messages,
    reply_room::{self, peer},
};
use crate::{
    auth::{Auth, AuthError, Credentials, LoggedIn, MOST_LISTED},
    deadline::Deadline,
    domain::Client,
    effect::NoEffect,
    proto::v1::{
        BatchGetUserBySessionRequest, BatchGetUserBySessionResponse, ChangePasswordRequest,
        ChangePasswordResponse, GetUserBySessionRequest, GetUserBySessionResponse,
        ListSessionsRequest, ListSessionsResponse, LoginRequest, LoginResponse, LogoutRequest,
        LogoutResponse, RegisterRequest, RegisterResponse, RequestPasswordResetRequest,
        RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse,
        RevokeOtherSessionsRequest, RevokeOtherSessionsResponse, RevokeSessionRequest,
        RevokeSessionResponse, auth_service_server::AuthService,
    },
};

/// Parse, call `Auth`, answer.
pub(crate) struct AuthRpc {
    auth: Auth,
}

impl AuthRpc {
    /// Serves these rules.
    pub(crate) fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[tonic::async_trait]
impl AuthService for AuthRpc {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let deadline = deadline(&request)?;
        let RegisterRequest { email, password } = request.into_inner();
        let user = self.auth.register_user(&email, password, deadline).await?;
        Ok(Response::new(RegisterResponse {
            user: Some(messages::user(user)),
        }))
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<LoginResponse>, Status> {
        let client = client(&request)?;
        let deadline = deadline(&request)?;
        let LoginRequest { email, password } = request.into_inner();
        let credentials = Credentials {
            email: &email,
            password,
            replaces: None,
        };
        match self.auth.log_in(credentials, client, deadline).await? {
            LoggedIn::Session { opened, owner } => Ok(Response::new(LoginResponse {
                session_id: opened.token.expose().to_owned(),
                session: Some(messages::session(&opened.live, true)),
                user: Some(messages::user(owner)),
            })),
        }
    }

    async fn get_user_by_session(
        &self,
        request: Request<GetUserBySessionRequest>,
    ) -> Result<Response<GetUserBySessionResponse>, Status> {
        let session_id = &request.get_ref().session_id;
        let checked = self.auth.get_user_from_session_id(session_id).await;
        let checked = checked.map_err(|error| {
            misplaced_secrets::of_session(error, session_id, request.metadata())
        })?;
        Ok(Response::new(messages::checked(checked)))
    }

    async fn batch_get_user_by_session(
        &self,
        request: Request<BatchGetUserBySessionRequest>,
    ) -> Result<Response<BatchGetUserBySessionResponse>, Status> {
        let peer = peer(&request)?;
        let session_ids = request.get_ref().session_ids.iter();
        let session_ids: Vec<&str> = session_ids.map(String::as_str).collect();
        let room = reply_room::take(peer, messages::batch_bytes(session_ids.len())).await?;
        let outcomes = self.auth.get_users_from_session_ids(&session_ids).await?;
        if outcomes.iter().any(Result::is_ok) {
            peer.traffic().note_recognised();
        }
        let results = messages::outcomes(outcomes);
        Ok(reply_room::respond(
            BatchGetUserBySessionResponse { results },
            room,
        ))
    }

    async fn logout(
        &self,
        request: Request<LogoutRequest>,
    ) -> Result<Response<LogoutResponse>, Status> {
        let session_id = &request.get_ref().session_id;
        let ended = self.auth.destroy_session(session_id).await;
        ended.map_err(|error| {
            misplaced_secrets::of_session(error, session_id, request.metadata())
        })?;
        Ok(Response::new(LogoutResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let most = MOST_LISTED * messages::MAX_SESSION_BYTES;
        let room = reply_room::take(peer(&request)?, most).await?;
        let ListSessionsRequest {
            session_id,
            page_size,
            page_token,
        } = request.get_ref();
        let listed = self.auth.list_sessions(session_id, *page_size, page_token);
        let page = listed.await.map_err(|error| {
            misplaced_secrets::of_session(error, session_id, request.metadata())
        })?;
        let sessions = page.sessions.iter();
        let sessions =
            sessions.map(|live| messages::session(live, live.session.handle == page.current));
        let response = ListSessionsResponse {
            sessions: sessions.collect(),
            next_page_token: page.next_page_token.unwrap_or_default(),
        };
        Ok(reply_room::respond(response, room))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let RevokeSessionRequest { session_id, handle } = request.get_ref();
        let revoked = self.auth.revoke_session(session_id, handle).await;
        revoked.map_err(|error| {
            misplaced_secrets::of_session(error, session_id, request.metadata())
        })?;
        Ok(Response::new(RevokeSessionResponse {}))
    }

    async fn revoke_other_sessions(
        &self,
        request: Request<RevokeOtherSessionsRequest>,
    ) -> Result<Response<RevokeOtherSessionsResponse>, Status> {
        let session_id = &request.get_ref().session_id;
        let revoked = self.auth.revoke_other_sessions(session_id).await;
        let revoked = revoked.map_err(|error| {
            misplaced_secrets::of_session(error, session_id, request.metadata())
        })?;
        let mut response = Response::new(RevokeOtherSessionsResponse {
            revoked: i32::try_from(revoked).unwrap_or(i32::MAX),
        });
        if revoked == 0 {
            response.extensions_mut().insert(NoEffect);
        }
        Ok(response)
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let client = client(&request)?;
        let deadline = deadline(&request)?;
        let (metadata, _, message) = request.into_parts();
        let ChangePasswordRequest {
            session_id,
            current_password,
            new_password,
        } = message;
        let opened = self
            .auth
            .change_password(
                &session_id,
                current_password,
                new_password,
                client,
                deadline,
            )
            .await
            .map_err(|error| misplaced_secrets::of_session(error, &session_id, &metadata))?;
        Ok(Response::new(ChangePasswordResponse {
            session_id: opened.token.expose().to_owned(),
            session: Some(messages::session(&opened.live, true)),
        }))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        self.auth
            .request_password_reset(&request.get_ref().email)
            .await?;
        let mut response = Response::new(RequestPasswordResetResponse {});
        // A mail that is sent has a line of its own.
        response.extensions_mut().insert(NoEffect);
        Ok(response)
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let deadline = deadline(&request)?;
        let ResetPasswordRequest {
            reset_token,
            new_password,
        } = request.into_inner();
        let user = self
            .auth
            .update_password(&reset_token, new_password, None, deadline)
            .await
            .map_err(|error| misplaced_secrets::of_reset(error, &reset_token))?;
        Ok(Response::new(ResetPasswordResponse {
            user: Some(messages::user(user)),
        }))
    }
}

/// Who is asking, as far as the request and its connection tell.
fn client<T>(request: &Request<T>) -> Result<Client, AuthError> {
    let user_agent = request.metadata().get("user-agent");
    Ok(peer(request)?.client(user_agent.map(MetadataValue::as_bytes)))
}

/// When whoever is asking stops waiting; what every request passes has noted it.
fn deadline<T>(request: &Request<T>) -> Result<Deadline, AuthError> {
    let deadline = request.extensions().get().copied();
    deadline.ok_or_else(|| AuthError::Internal("the request has no deadline".into()))
}
