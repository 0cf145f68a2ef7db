//! `Register`.

use tonic::{Request, Response, Status};

use crate::{
    auth::Auth,
    proto::v1::{RegisterRequest, RegisterResponse},
    rpc::{encoding::messages, request::context_of},
};

pub(super) async fn register(
    auth: &Auth,
    request: Request<RegisterRequest>,
) -> Result<Response<RegisterResponse>, Status> {
    let (metadata, extensions, message) = request.into_parts();
    let context = context_of(&metadata, &extensions)?;
    let RegisterRequest { email, password } = message;
    let user = auth.register_user(&email, password, &context).await?;
    Ok(Response::new(RegisterResponse {
        user: Some(messages::user(user)),
    }))
}
