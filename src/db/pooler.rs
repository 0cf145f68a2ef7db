//! Detection of poolers that choose a connection for each transaction, such as PgBouncer with
//! `pool_mode = transaction`. Session settings, prepared statements and LISTEN would apply to
//! the connections of other clients.

use diesel::{PgConnection, QueryResult, QueryableByName, RunQueryDsl as _, sql_types::Integer};

use super::{
    connection::connect_postgres,
    error::{OpenProblem, on_one_line},
};

#[derive(QueryableByName)]
struct Backend {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// Refuses a server behind such a pooler: two open connections have the same backend process,
/// or one of them has two.
pub(super) fn refuse(uri: &str, connection: &mut PgConnection) -> Result<(), OpenProblem> {
    let mut pids = || {
        let first = pid(connection)?;
        let second = pid(connection)?;
        Ok((first, second))
    };
    let (first, second) = pids().map_err(refused)?;
    let mut other = connect_postgres(uri).map_err(|error| OpenProblem::refused(&error))?;
    let other = pid(&mut other).map_err(refused)?;
    if first == second && first != other {
        Ok(())
    } else {
        Err(OpenProblem::TransactionPooling)
    }
}

fn pid(connection: &mut PgConnection) -> QueryResult<i32> {
    let backend: Backend =
        diesel::sql_query("SELECT pg_backend_pid() AS pid").get_result(connection)?;
    Ok(backend.pid)
}

/// The problem behind an error: such a pooler may prepare and execute a statement on two
/// connections.
fn refused(error: diesel::result::Error) -> OpenProblem {
    if on_one_line(&error).contains("prepared statement") {
        OpenProblem::TransactionPooling
    } else {
        error.into()
    }
}
