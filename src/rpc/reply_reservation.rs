//! Memory for large replies, reserved before they are made.

use tonic::{Request, Response, Status};

use crate::rpc::status;
use crate::{
    auth::AuthError,
    peer::{Peer, ReplyReservation},
};

/// The peer of the request's connection.
pub(crate) fn peer<T>(request: &Request<T>) -> Result<&Peer, AuthError> {
    let peer = request.extensions().get();
    peer.ok_or_else(|| AuthError::Internal("the request has no peer".into()))
}

/// Reserves memory of a connection for a reply of at most `bytes`.
pub(crate) async fn take(peer: &Peer, bytes: usize) -> Result<ReplyReservation, Status> {
    let room = peer.traffic().reserve_reply(bytes).await;
    room.map_err(|_| status::replies_unread())
}

/// A reply that holds its reservation until it was sent.
pub(crate) fn respond<T>(message: T, room: ReplyReservation) -> Response<T> {
    let mut response = Response::new(message);
    response.extensions_mut().insert(room);
    response
}
