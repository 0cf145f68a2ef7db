//! What the errors of statements tell of the connection that they ran on.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use diesel::{
    Connection as _,
    connection::InstrumentationEvent,
    result::{DatabaseErrorKind as Kind, Error as DieselError},
};

use super::connection::AnyConnection;

/// Whether a connection can go on working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// It has done its work, or failed for a reason that lay in the statement.
    Sound,
    /// The connection may not be able to work, for a reason of its own or of the server's:
    /// a time limit (SQLSTATE 57014, 55P03), too little of something (53), a code that
    /// diesel does not tell apart.
    Doubtful,
    /// The server cannot do what is asked, or is gone: it takes no writes (25006), or has
    /// closed the connection (08, 57P). The other connections lead there as well.
    Lost,
}

/// Watches the statements of one connection.
pub(super) struct HealthMonitor(Arc<AtomicU8>);

impl HealthMonitor {
    /// Begins to watch a connection. A file has no server that could be replaced.
    pub(super) fn watch(connection: &mut AnyConnection) -> Self {
        let worst = Arc::new(AtomicU8::new(Health::Sound as u8));
        if matches!(connection, AnyConnection::Postgres(_)) {
            let seen = Arc::clone(&worst);
            connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::FinishQuery {
                    error: Some(error), ..
                } = event
                {
                    seen.fetch_max(judge(error) as u8, Ordering::Relaxed);
                }
            });
        }
        Self(worst)
    }

    /// The worst that its statements have told of it.
    pub(super) fn health(&self) -> Health {
        let worst = self.0.load(Ordering::Relaxed);
        [Health::Lost, Health::Doubtful]
            .into_iter()
            .find(|health| worst >= *health as u8)
            .unwrap_or(Health::Sound)
    }
}

fn judge(error: &DieselError) -> Health {
    match error {
        DieselError::DatabaseError(
            Kind::UniqueViolation
            | Kind::ForeignKeyViolation
            | Kind::NotNullViolation
            | Kind::CheckViolation
            | Kind::RestrictViolation
            | Kind::ExclusionViolation
            | Kind::SerializationFailure,
            _,
        ) => Health::Sound,
        DieselError::DatabaseError(Kind::ReadOnlyTransaction | Kind::ClosedConnection, _) => {
            Health::Lost
        }
        DieselError::DatabaseError(..)
        | DieselError::BrokenTransactionManager
        | DieselError::RollbackErrorOnCommit { .. } => Health::Doubtful,
        // No rows, or values that do not fit.
        _ => Health::Sound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_of_the_statement_or_of_the_server() {
        let error = |kind| DieselError::DatabaseError(kind, Box::new(String::new()));
        for (error, health) in [
            (DieselError::NotFound, Health::Sound),
            (error(Kind::UniqueViolation), Health::Sound),
            (error(Kind::SerializationFailure), Health::Sound),
            (error(Kind::Unknown), Health::Doubtful),
            (error(Kind::UnableToSendCommand), Health::Doubtful),
            (error(Kind::ReadOnlyTransaction), Health::Lost),
            (error(Kind::ClosedConnection), Health::Lost),
        ] {
            assert_eq!(judge(&error), health, "{error:?}");
        }
    }
}
