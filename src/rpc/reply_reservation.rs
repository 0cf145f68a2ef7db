//! Memory for large replies, reserved before they are made.

use tonic::{Response, Status};

use super::status;
use crate::peer::{Peer, ReplyReservation};

/// Reserves memory of a connection for a reply of at most `bytes`.
pub(crate) async fn reserve(peer: &Peer, bytes: usize) -> Result<ReplyReservation, Status> {
    let reservation = peer.traffic().reserve_reply(bytes).await;
    reservation.map_err(|_| status::replies_unread())
}

/// A reply that holds its reservation until it was sent.
pub(crate) fn with_reservation<T>(message: T, reservation: ReplyReservation) -> Response<T> {
    let mut response = Response::new(message);
    response.extensions_mut().insert(reservation);
    response
}
