//! `Logout`, `ListSessions`, `RevokeSession` and `RevokeOtherSessions`.

use tonic::{Request, Response, Status};

use super::misplaced_secrets::of_session;
use crate::{
    auth::{Auth, MAX_PAGE_SIZE},
    no_effect::NoEffect,
    proto::v1::{
        ListSessionsRequest, ListSessionsResponse, LogoutRequest, LogoutResponse,
        RevokeOtherSessionsRequest, RevokeOtherSessionsResponse, RevokeSessionRequest,
        RevokeSessionResponse,
    },
    rpc::{
        encoding::messages,
        reply_reservation::{reserve, with_reservation},
        request::{context, peer},
    },
};

pub(super) async fn logout(
    auth: &Auth,
    request: Request<LogoutRequest>,
) -> Result<Response<LogoutResponse>, Status> {
    let session_id = &request.get_ref().session_id;
    let ended = auth.destroy_session(session_id, &context(&request)?).await;
    ended.map_err(of_session(session_id, request.metadata()))?;
    Ok(Response::new(LogoutResponse {}))
}

pub(super) async fn list_sessions(
    auth: &Auth,
    request: Request<ListSessionsRequest>,
) -> Result<Response<ListSessionsResponse>, Status> {
    let context = context(&request)?;
    let most = MAX_PAGE_SIZE * messages::MAX_SESSION_BYTES;
    let reservation = reserve(peer(&request)?, most).await?;
    let ListSessionsRequest {
        session_id,
        page_size,
        page_token,
    } = request.get_ref();
    let listed = auth.list_sessions(session_id, *page_size, page_token, &context);
    let page = listed
        .await
        .map_err(of_session(session_id, request.metadata()))?;
    let sessions = page.sessions.iter();
    let sessions =
        sessions.map(|live| messages::session(live, live.session.handle == page.current));
    let response = ListSessionsResponse {
        sessions: sessions.collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
    };
    Ok(with_reservation(response, reservation))
}

pub(super) async fn revoke_session(
    auth: &Auth,
    request: Request<RevokeSessionRequest>,
) -> Result<Response<RevokeSessionResponse>, Status> {
    let RevokeSessionRequest { session_id, handle } = request.get_ref();
    let context = context(&request)?;
    let revoked = auth.revoke_session(session_id, handle, &context).await;
    revoked.map_err(of_session(session_id, request.metadata()))?;
    Ok(Response::new(RevokeSessionResponse {}))
}

pub(super) async fn revoke_other_sessions(
    auth: &Auth,
    request: Request<RevokeOtherSessionsRequest>,
) -> Result<Response<RevokeOtherSessionsResponse>, Status> {
    let session_id = &request.get_ref().session_id;
    let context = context(&request)?;
    let revoked = auth.revoke_other_sessions(session_id, &context).await;
    let revoked = revoked.map_err(of_session(session_id, request.metadata()))?;
    let mut response = Response::new(RevokeOtherSessionsResponse {
        revoked: i32::try_from(revoked).unwrap_or(i32::MAX),
    });
    if revoked == 0 {
        response.extensions_mut().insert(NoEffect);
    }
    Ok(response)
}
