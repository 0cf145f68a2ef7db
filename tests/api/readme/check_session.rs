use bienvenue::proto::v1 as proto;

use proto::{GetUserBySessionRequest, User, auth_service_client::AuthServiceClient};
use tonic::{Code, Status, transport::Channel};

/// The user of a session; `None` where the caller has to log in.
pub async fn user_of(
    mut bienvenue: AuthServiceClient<Channel>,
    session_id: String,
) -> Result<Option<User>, Status> {
    let request = GetUserBySessionRequest { session_id };
    match bienvenue.get_user_by_session(request).await {
        Ok(reply) => Ok(reply.into_inner().user),
        Err(status) if status.code() == Code::Unauthenticated => Ok(None),
        Err(status) => Err(status),
    }
}
