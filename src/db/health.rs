//! The health of a connection, as shown by the errors of its statements.

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

/// Whether a connection can still be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Its statements succeeded, or failed because of the statement.
    Sound,
    /// The connection or its server may be broken: a time limit (SQLSTATE 57014, 55P03), a
    /// lack of resources (53), or a code that diesel does not distinguish.
    Doubtful,
    /// The server takes no writes (25006) or has closed the connection (08, 57P). The other
    /// connections lead to the same server.
    Lost,
}

/// Watches the statements of one connection.
pub(super) struct HealthMonitor(Arc<AtomicU8>);

impl HealthMonitor {
    /// Begins to watch a connection. A file is always sound: it has no server to replace.
    pub(super) fn watch(connection: &mut AnyConnection) -> Self {
        let worst = Arc::new(AtomicU8::new(Health::Sound as u8));
        if connection.is_to_server() {
            let seen = Arc::clone(&worst);
            connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
                if let InstrumentationEvent::FinishQuery {
                    error: Some(error), ..
                } = event
                {
                    seen.fetch_max(classify(error) as u8, Ordering::Relaxed);
                }
            });
        }
        Self(worst)
    }

    /// The worst health that any statement has shown.
    pub(super) fn health(&self) -> Health {
        let worst = self.0.load(Ordering::Relaxed);
        [Health::Lost, Health::Doubtful]
            .into_iter()
            .find(|health| worst >= *health as u8)
            .unwrap_or(Health::Sound)
    }
}

fn classify(error: &DieselError) -> Health {
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
        // No rows, or values of another type.
        _ => Health::Sound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_of_the_statement_or_of_the_server() {
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
            assert_eq!(classify(&error), health, "{error:?}");
        }
    }
}
