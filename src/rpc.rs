//! The gRPC services: they translate between messages and calls of
//! [`Auth`](crate::auth::Auth).

pub mod admin;
pub mod auth;
pub mod encoding;
pub mod methods;
pub(crate) mod reply_reservation;
pub(crate) mod request;
pub mod status;

pub use self::{
    admin::{AdminServer, authentication::AdminToken},
    auth::server::AuthServer,
};

use tonic::server::NamedService;

/// The full name of the service on the public listener.
pub const AUTH_SERVICE: &str = <AuthServer as NamedService>::NAME;

/// The full name of the service on the internal listener.
pub const ADMIN_SERVICE: &str = <AdminServer as NamedService>::NAME;
