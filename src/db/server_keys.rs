//! The table `server_keys`: random keys shared by all nodes of a database.

use std::sync::Arc;

use diesel::{ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, RunQueryDsl as _};
use zeroize::Zeroizing;

use super::{
    connection::{AnyConnection, on_backend},
    error::OpenProblem,
    schema::server_keys,
};

/// The purpose of a key, as stored in the table.
pub(super) const DECOYS: &str = "decoys";

/// A secret key of 32 bytes. Cheap to clone; wiped when the last clone is dropped.
#[derive(Clone)]
pub struct ServerKey(Arc<Zeroizing<[u8; 32]>>);

impl ServerKey {
    /// The bytes of the key.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    #[cfg(test)]
    pub(crate) fn for_tests(bytes: [u8; 32]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

/// The database's key for a purpose, created by the first node that asks for it. Nodes that
/// start at the same time agree on it: an index admits one key for [`DECOYS`], and each node
/// reads the key back. Another purpose needs such an index as well.
pub(super) fn load_or_create(
    connection: &mut AnyConnection,
    purpose: &str,
) -> Result<ServerKey, OpenProblem> {
    if let Some(key) = find(connection, purpose)? {
        return Ok(key);
    }
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut()).map_err(|error| OpenProblem::NoRandomness(error.to_string()))?;
    on_backend!(connection, |backend| {
        diesel::insert_into(server_keys::table)
            .values((
                server_keys::purpose.eq(purpose),
                server_keys::key.eq(key.as_slice()),
            ))
            .on_conflict_do_nothing()
            .execute(backend)?
    });
    let stored = find(connection, purpose)?;
    stored.ok_or_else(|| OpenProblem::Key(purpose.to_owned()))
}

fn find(connection: &mut AnyConnection, purpose: &str) -> Result<Option<ServerKey>, OpenProblem> {
    let stored: Option<Vec<u8>> = server_keys::table
        .filter(server_keys::purpose.eq(purpose))
        .select(server_keys::key)
        .first(connection)
        .optional()?;
    let stored = stored.map(Zeroizing::new);
    stored
        .map(|stored| match <[u8; 32]>::try_from(stored.as_slice()) {
            Ok(key) => Ok(ServerKey(Arc::new(Zeroizing::new(key)))),
            Err(_) => Err(OpenProblem::Key(purpose.to_owned())),
        })
        .transpose()
}
