//! Bringing a database to the schema of this version, or leaving it alone.

use std::{
    collections::HashSet, fs::OpenOptions, io::ErrorKind, os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use diesel::{
    Connection, QueryableByName, RunQueryDsl as _,
    backend::Backend,
    connection::{LoadConnection, SimpleConnection as _},
    migration::{Migration, MigrationSource as _},
    query_builder::SqlQuery,
    query_dsl::methods::LoadQuery,
    result::{Error as DieselError, QueryResult},
    sql_types::{Bool, Text},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{
    connection::{connect_postgres, connect_sqlite},
    error::OpenError,
    url::DatabaseUrl,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Checks that the database can be used and migrates it, before the pool
/// exists. All pending migrations happen or none.
pub(super) fn prepare(url: &DatabaseUrl) -> Result<(), OpenError> {
    match url {
        DatabaseUrl::Sqlite(path) => prepare_sqlite(url, path),
        DatabaseUrl::Postgres(_) => prepare_postgres(url),
    }
}

fn prepare_sqlite(url: &DatabaseUrl, path: &Path) -> Result<(), OpenError> {
    create_private(path).map_err(|cause| OpenError::Create {
        url: url.clone(),
        cause,
    })?;
    let mut connection = connect_sqlite(url).map_err(|error| OpenError::refused(url, &error))?;
    let has_history = exists(
        &mut connection,
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '__diesel_schema_migrations') AS found",
    )
    .map_err(|error| OpenError::refused(url, &error))?;
    let pending = pending(url, &mut connection, has_history, SQLITE)?;

    // What is rolled back changes nothing, and fails where nothing can be
    // changed.
    connection
        .batch_execute("BEGIN IMMEDIATE; CREATE TABLE write_probe (x); ROLLBACK;")
        .map_err(|error| OpenError::ReadOnly {
            url: url.clone(),
            cause: error.to_string(),
        })?;

    let migrate = migrate_error(url);
    connection
        .batch_execute("PRAGMA journal_mode = WAL")
        .map_err(|error| migrate(error.into()))?;
    if pending {
        connection
            .immediate_transaction(|connection| run_pending(connection, SQLITE))
            .map_err(|error| migrate(error.0))?;
    }
    Ok(())
}

fn prepare_postgres(url: &DatabaseUrl) -> Result<(), OpenError> {
    let mut connection = connect_postgres(url).map_err(|error| OpenError::refused(url, &error))?;
    let unreachable = |error: DieselError| OpenError::refused(url, &error);
    let has_history = exists(
        &mut connection,
        "SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found",
    )
    .map_err(unreachable)?;
    let pending = pending(url, &mut connection, has_history, POSTGRES)?;
    let read_only = exists(
        &mut connection,
        "SELECT current_setting('transaction_read_only') = 'on' AS found",
    )
    .map_err(unreachable)?;
    if read_only {
        return Err(OpenError::ReadOnly {
            url: url.clone(),
            cause: "it takes no writes: a standby, or default_transaction_read_only".into(),
        });
    }
    if pending {
        connection
            .transaction(|connection| {
                // Nodes that start together migrate one after the other; the
                // later ones find nothing left to do.
                connection.batch_execute(
                    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
                     SELECT pg_advisory_xact_lock(hashtext('bienvenue migrations'));",
                )?;
                run_pending(connection, POSTGRES)
            })
            .map_err(|error| migrate_error(url)(error.0))?;
    }
    Ok(())
}

/// Creates the file for its owner alone; one that is there stays as it is.
/// SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop),
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

fn exists<C>(connection: &mut C, question: &str) -> QueryResult<bool>
where
    C: LoadConnection,
    SqlQuery: for<'query> LoadQuery<'query, C, Found>,
{
    let answer: Found = diesel::sql_query(question).get_result(connection)?;
    Ok(answer.found)
}

/// Whether a migration is left to do.
fn pending<C>(
    url: &DatabaseUrl,
    connection: &mut C,
    has_history: bool,
    migrations: EmbeddedMigrations,
) -> Result<bool, OpenError>
where
    C: LoadConnection,
    C::Backend: 'static,
    SqlQuery: for<'query> LoadQuery<'query, C, Applied>,
{
    let known = versions::<C::Backend>(&migrations).map_err(migrate_error(url))?;
    if !has_history {
        return Ok(true);
    }
    let applied: Vec<Applied> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
            .load(connection)
            .map_err(|error| OpenError::refused(url, &error))?;
    if let Some(newer) = applied.iter().find(|row| !known.contains(&row.version)) {
        return Err(OpenError::Newer {
            url: url.clone(),
            version: newer.version.clone(),
        });
    }
    Ok(applied.len() < known.len())
}

fn versions<B: Backend>(migrations: &EmbeddedMigrations) -> Result<HashSet<String>, Cause> {
    let migrations: Vec<Box<dyn Migration<B>>> = migrations.migrations()?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

/// Carries a migration's error through diesel's transaction.
struct Failed(Cause);

impl From<DieselError> for Failed {
    fn from(error: DieselError) -> Self {
        Self(error.into())
    }
}

fn run_pending<C, B>(connection: &mut C, migrations: EmbeddedMigrations) -> Result<(), Failed>
where
    C: MigrationHarness<B>,
    B: Backend,
{
    connection
        .run_pending_migrations(migrations)
        .map(drop)
        .map_err(Failed)
}

fn migrate_error(url: &DatabaseUrl) -> impl Fn(Cause) -> OpenError {
    let url = url.clone();
    move |cause| OpenError::Migrate {
        url: url.clone(),
        cause,
    }
}
