//! `ChangePassword`, `RequestPasswordReset` and `ResetPassword`.

use tonic::{Request, Response, Status};

use super::misplaced_secrets::{of_reset, of_session};
use crate::{
    auth::Auth,
    no_effect::NoEffect,
    proto::v1::{
        ChangePasswordRequest, ChangePasswordResponse, RequestPasswordResetRequest,
        RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse,
    },
    rpc::{
        encoding::messages,
        request::{context, context_of},
    },
};

pub(super) async fn change_password(
    auth: &Auth,
    request: Request<ChangePasswordRequest>,
) -> Result<Response<ChangePasswordResponse>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let context = context_of(&metadata, &extensions)?;
    let ChangePasswordRequest {
        session_id,
        current_password,
        new_password,
    } = message;
    let opened = auth
        .change_password(&session_id, current_password, new_password, &context)
        .await
        .map_err(of_session(&session_id, &metadata))?;
    Ok(Response::new(ChangePasswordResponse {
        session_id: opened.token.expose().to_owned(),
        session: Some(messages::session(&opened.live, true)),
    }))
}

pub(super) async fn request_password_reset(
    auth: &Auth,
    request: Request<RequestPasswordResetRequest>,
) -> Result<Response<RequestPasswordResetResponse>, Status> {
    let email = &request.get_ref().email;
    auth.request_password_reset(email, &context(&request)?)
        .await?;
    let mut response = Response::new(RequestPasswordResetResponse {});
    // The delivery of the mail has a log line of its own.
    response.extensions_mut().insert(NoEffect);
    Ok(response)
}

pub(super) async fn reset_password(
    auth: &Auth,
    request: Request<ResetPasswordRequest>,
) -> Result<Response<ResetPasswordResponse>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let context = context_of(&metadata, &extensions)?;
    let ResetPasswordRequest {
        reset_token,
        new_password,
    } = message;
    let user = auth
        .update_password(&reset_token, new_password, None, &context)
        .await
        .map_err(|error| of_reset(error, &reset_token))?;
    Ok(Response::new(ResetPasswordResponse {
        user: Some(messages::user(user)),
    }))
}
