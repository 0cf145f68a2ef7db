//! `Login`.

use tonic::{Request, Response, Status};

use crate::{
    auth::{Auth, Credentials, LoggedIn},
    proto::v1::{LoginRequest, LoginResponse},
    rpc::{encoding::messages, request::context_of},
};

pub(super) async fn login(
    auth: &Auth,
    request: Request<LoginRequest>,
) -> Result<Response<LoginResponse>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let context = context_of(&metadata, &extensions)?;
    let credentials = Credentials {
        email: &message.email,
        password: message.password,
        replaces: None,
    };
    match auth.log_in(credentials, &context).await? {
        LoggedIn::Session { opened, owner } => Ok(Response::new(LoginResponse {
            session_id: opened.token.expose().to_owned(),
            session: Some(messages::session(&opened.live, true)),
            user: Some(messages::user(owner)),
        })),
    }
}
