//! `bienvenue.v1.AuthService`, one file per group of methods.

mod checks;
mod login;
pub(crate) mod misplaced_secrets;
mod passwords;
mod registration;
pub(crate) mod server;
mod sessions;

use tonic::{Request, Response, Status};

use crate::{
    auth::Auth,
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

/// Implements the generated trait. Each method parses the request, calls `Auth` and replies.
pub(crate) struct AuthRpc {
    auth: Auth,
}

impl AuthRpc {
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
        registration::register(&self.auth, request).await
    }

    async fn login(
        &self,
        request: Request<LoginRequest>,
    ) -> Result<Response<LoginResponse>, Status> {
        login::login(&self.auth, request).await
    }

    async fn get_user_by_session(
        &self,
        request: Request<GetUserBySessionRequest>,
    ) -> Result<Response<GetUserBySessionResponse>, Status> {
        checks::get_user_by_session(&self.auth, request).await
    }

    async fn batch_get_user_by_session(
        &self,
        request: Request<BatchGetUserBySessionRequest>,
    ) -> Result<Response<BatchGetUserBySessionResponse>, Status> {
        checks::batch_get_user_by_session(&self.auth, request).await
    }

    async fn logout(
        &self,
        request: Request<LogoutRequest>,
    ) -> Result<Response<LogoutResponse>, Status> {
        sessions::logout(&self.auth, request).await
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        sessions::list_sessions(&self.auth, request).await
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        sessions::revoke_session(&self.auth, request).await
    }

    async fn revoke_other_sessions(
        &self,
        request: Request<RevokeOtherSessionsRequest>,
    ) -> Result<Response<RevokeOtherSessionsResponse>, Status> {
        sessions::revoke_other_sessions(&self.auth, request).await
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        passwords::change_password(&self.auth, request).await
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        passwords::request_password_reset(&self.auth, request).await
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        passwords::reset_password(&self.auth, request).await
    }
}
