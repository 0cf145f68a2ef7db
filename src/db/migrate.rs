//! Migrating a database to the schema of this version, or refusing it unchanged.

use std::{
    collections::HashSet,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

#[cfg(feature = "postgres")]
use diesel::PgConnection;
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

#[cfg(not(feature = "postgres"))]
use super::connection;
#[cfg(feature = "postgres")]
use super::{connection::connect_postgres, pooler};
use super::{
    connection::{AnyConnection, connect_sqlite},
    error::{Cause, OpenProblem, on_one_line},
    url::DatabaseUrl,
};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
#[cfg(feature = "postgres")]
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// Whether the table of applied migrations exists.
const SQLITE_HISTORY: &str =
    "EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '__diesel_schema_migrations')";
#[cfg(feature = "postgres")]
const POSTGRES_HISTORY: &str = "to_regclass('__diesel_schema_migrations') IS NOT NULL";

/// The longest wait for another process that holds a lock on an SQLite file.
const MAX_LOCKED: Duration = Duration::from_secs(5);
const RETRY_LOCKED_EVERY: Duration = Duration::from_millis(20);

/// Checks that the database can be used, and migrates it, before the pool exists. Either all
/// pending migrations are applied or none.
pub(super) fn prepare(url: &DatabaseUrl) -> Result<(), OpenProblem> {
    match url {
        DatabaseUrl::Sqlite(path) => {
            // SQLite does not wait for a lock when it changes the journal mode.
            let start = Instant::now();
            loop {
                match prepare_sqlite(path) {
                    Err(OpenProblem::Locked(_)) if start.elapsed() < MAX_LOCKED => {
                        thread::sleep(RETRY_LOCKED_EVERY);
                    }
                    prepared => return prepared,
                }
            }
        }
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(uri) => prepare_postgres(uri),
        #[cfg(not(feature = "postgres"))]
        DatabaseUrl::Postgres(_) => Err(OpenProblem::refused(&connection::not_built())),
    }
}

/// Checks, without writing, that the database could be migrated; returns whether it already
/// has the table `users`.
pub(super) fn inspect(connection: &mut AnyConnection) -> Result<bool, OpenProblem> {
    let (has_history, has_users) = match connection {
        AnyConnection::Sqlite(sqlite) => {
            let has_history = is_true(sqlite, SQLITE_HISTORY)?;
            has_pending(sqlite, has_history, SQLITE)?;
            let users = "EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'users')";
            (has_history, is_true(sqlite, users)?)
        }
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => {
            let has_history = is_true(postgres, POSTGRES_HISTORY)?;
            has_pending(postgres, has_history, POSTGRES)?;
            takes_writes(postgres)?;
            (
                has_history,
                is_true(postgres, "to_regclass('users') IS NOT NULL")?,
            )
        }
    };
    if has_users && !has_history {
        let why = "it has a table users that is not this service's";
        return Err(OpenProblem::Migrate(why.to_owned()));
    }
    Ok(has_users)
}

fn prepare_sqlite(path: &str) -> Result<(), OpenProblem> {
    create_private(path).map_err(OpenProblem::Create)?;
    let mut connection = connect_sqlite(path).map_err(|error| OpenProblem::refused(&error))?;
    let has_history = is_true(&mut connection, SQLITE_HISTORY)?;
    let has_pending = has_pending(&mut connection, has_history, SQLITE)?;
    // The rollback undoes the probe, which fails on a read-only database.
    connection
        .batch_execute("BEGIN IMMEDIATE; CREATE TABLE write_probe (x); ROLLBACK;")
        .map_err(|error| {
            OpenProblem::known(on_one_line(&error)).unwrap_or_else(OpenProblem::ReadOnly)
        })?;
    if has_pending {
        connection.immediate_transaction(|connection| run_pending(connection, SQLITE))?;
    }
    connection.batch_execute("PRAGMA journal_mode = WAL")?;
    Ok(())
}

#[cfg(feature = "postgres")]
fn prepare_postgres(uri: &str) -> Result<(), OpenProblem> {
    let mut connection = connect_postgres(uri).map_err(|error| OpenProblem::refused(&error))?;
    pooler::refuse(uri, &mut connection)?;
    let has_history = is_true(&mut connection, POSTGRES_HISTORY)?;
    let has_pending = has_pending(&mut connection, has_history, POSTGRES)?;
    takes_writes(&mut connection)?;
    if has_pending {
        connection.transaction(|connection| {
            // Nodes that start at the same time take this lock in turn; all but the first
            // find no pending migrations.
            connection.batch_execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
                 SELECT pg_advisory_xact_lock(hashtext('bienvenue migrations'));",
            )?;
            run_pending(connection, POSTGRES)
        })?;
    }
    Ok(())
}

/// Checks that a transaction could write, without beginning one.
#[cfg(feature = "postgres")]
fn takes_writes(connection: &mut PgConnection) -> Result<(), OpenProblem> {
    let refuses = "pg_is_in_recovery() OR current_setting('default_transaction_read_only') = 'on'";
    if is_true(connection, refuses)? {
        let why = "a standby, or default_transaction_read_only";
        return Err(OpenProblem::ReadOnly(why.to_owned()));
    }
    Ok(())
}

/// Creates the file, readable by its owner alone; an existing file stays unchanged. SQLite
/// gives the files beside it the same mode.
pub(super) fn create_private(path: &str) -> std::io::Result<()> {
    let created = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match created {
        // Whether an existing file can be written is checked later.
        Err(_) if Path::new(path).exists() => Ok(()),
        result => result.map(drop),
    }
}

#[derive(QueryableByName)]
struct BoolRow {
    #[diesel(sql_type = Bool)]
    value: bool,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

/// Evaluates a boolean expression.
fn is_true<C>(connection: &mut C, condition: &str) -> QueryResult<bool>
where
    C: LoadConnection,
    SqlQuery: for<'query> LoadQuery<'query, C, BoolRow>,
{
    let query = diesel::sql_query(format!("SELECT {condition} AS value"));
    let row: BoolRow = query.get_result(connection)?;
    Ok(row.value)
}

/// Whether a migration is pending. It must not write, and diesel's own check would create its
/// table.
fn has_pending<C>(
    connection: &mut C,
    has_history: bool,
    migrations: EmbeddedMigrations,
) -> Result<bool, OpenProblem>
where
    C: LoadConnection,
    C::Backend: 'static,
    SqlQuery: for<'query> LoadQuery<'query, C, Applied>,
{
    if !has_history {
        return Ok(true);
    }
    let known = versions::<C::Backend>(&migrations)?;
    let applied: Vec<Applied> =
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
            .load(connection)?;
    match applied.iter().find(|row| !known.contains(&row.version)) {
        Some(newer) => Err(OpenProblem::Newer(newer.version.clone())),
        None => Ok(applied.len() < known.len()),
    }
}

fn versions<B: Backend>(migrations: &EmbeddedMigrations) -> Result<HashSet<String>, Failed> {
    let migrations: Vec<Box<dyn Migration<B>>> = migrations.migrations()?;
    Ok(migrations
        .iter()
        .map(|migration| migration.name().version().to_string())
        .collect())
}

fn run_pending<C, B>(connection: &mut C, migrations: EmbeddedMigrations) -> Result<(), Failed>
where
    C: MigrationHarness<B>,
    B: Backend,
{
    connection.run_pending_migrations(migrations)?;
    Ok(())
}

/// The reason why a migration, or the transaction around it, failed.
struct Failed(String);

impl From<Cause> for Failed {
    fn from(error: Cause) -> Self {
        Self(on_one_line(error.as_ref()))
    }
}

impl From<DieselError> for Failed {
    fn from(error: DieselError) -> Self {
        Self(on_one_line(&error))
    }
}

impl From<Failed> for OpenProblem {
    fn from(failed: Failed) -> Self {
        Self::known(failed.0).unwrap_or_else(Self::Migrate)
    }
}
