//! `GetUserBySession` and `BatchGetUserBySession`: with generated messages for callers of
//! gRPC-Web, and without them for native callers.

use std::sync::Arc;

use tonic::{Request, Response, Status, codegen::BoxFuture, server::UnaryService};

use super::misplaced_secrets::of_session;
use crate::{
    auth::{Auth, CheckedSession, SessionOutcome},
    proto::v1::{
        BatchGetUserBySessionRequest, BatchGetUserBySessionResponse, GetUserBySessionRequest,
        GetUserBySessionResponse,
    },
    rpc::{
        encoding::{messages, session_ids::SessionIds},
        reply_reservation::{reserve, with_reservation},
        request::{context, peer},
    },
};

pub(super) async fn get_user_by_session(
    auth: &Auth,
    request: Request<GetUserBySessionRequest>,
) -> Result<Response<GetUserBySessionResponse>, Status> {
    let checked = check(auth, &request).await?;
    Ok(Response::new(messages::checked(&checked)))
}

pub(super) async fn batch_get_user_by_session(
    auth: &Auth,
    request: Request<BatchGetUserBySessionRequest>,
) -> Result<Response<BatchGetUserBySessionResponse>, Status> {
    let session_ids = request.get_ref().session_ids.iter();
    let session_ids: Vec<&str> = session_ids.map(String::as_str).collect();
    let response = check_batch(auth, &request, &session_ids).await?;
    Ok(response.map(|outcomes| BatchGetUserBySessionResponse {
        results: messages::outcomes(outcomes),
    }))
}

async fn check(
    auth: &Auth,
    request: &Request<GetUserBySessionRequest>,
) -> Result<CheckedSession, Status> {
    let session_id = &request.get_ref().session_id;
    let context = context(request)?;
    let checked = auth.get_user_from_session_id(session_id, &context).await;
    checked.map_err(of_session(session_id, request.metadata()))
}

async fn check_batch<T>(
    auth: &Auth,
    request: &Request<T>,
    session_ids: &[&str],
) -> Result<Response<Vec<SessionOutcome>>, Status> {
    let (peer, context) = (peer(request)?, context(request)?);
    let reservation = reserve(peer, messages::batch_bytes(session_ids.len())).await?;
    let outcomes = auth
        .get_users_from_session_ids(session_ids, &context)
        .await?;
    if outcomes.iter().any(Result::is_ok) {
        peer.traffic().note_recognised();
    }
    Ok(with_reservation(outcomes, reservation))
}

/// Both methods for native callers.
pub(super) struct NativeChecks(pub(super) Arc<Auth>);

impl UnaryService<GetUserBySessionRequest> for NativeChecks {
    type Response = CheckedSession;
    type Future = BoxFuture<Response<CheckedSession>, Status>;

    fn call(&mut self, request: Request<GetUserBySessionRequest>) -> Self::Future {
        let auth = Arc::clone(&self.0);
        Box::pin(async move { Ok(Response::new(check(&auth, &request).await?)) })
    }
}

impl UnaryService<SessionIds> for NativeChecks {
    type Response = Vec<SessionOutcome>;
    type Future = BoxFuture<Response<Vec<SessionOutcome>>, Status>;

    fn call(&mut self, request: Request<SessionIds>) -> Self::Future {
        let auth = Arc::clone(&self.0);
        Box::pin(async move {
            let session_ids = request.get_ref().to_vec();
            check_batch(&auth, &request, &session_ids).await
        })
    }
}
