//! The target of an import: this service's table `users`.

use std::{collections::HashMap, fs::OpenOptions, path::Path};

use diesel::{
    ExpressionMethods as _, Insertable, QueryDsl as _, QueryableByName, RunQueryDsl as _,
    connection::SimpleConnection as _,
    result::{Error as DieselError, QueryResult},
    sql_types::BigInt,
};

use super::{error::TargetError, reader::Reader};
use crate::db::{
    connection::{AnyConnection, connect, on_backend},
    decoys,
    error::{OpenError, OpenProblem, on_one_line},
    migrate,
    schema::users,
    url::DatabaseUrl,
};
use crate::domain::{User, UserId};

/// The database to import into. The added users are stored when [`Target::commit`] returns;
/// without it, none are.
pub struct Target {
    url: DatabaseUrl,
    /// `None` for a database without the table `users`, or a missing file.
    connection: Option<AnyConnection>,
    /// An empty table has no conflicting users.
    was_empty: bool,
    /// The lowest id of the added users.
    lowest_id: Option<UserId>,
}

/// The existing users with one of the ids or e-mails that were looked up.
#[derive(Debug, Default)]
pub struct ExistingUsers {
    /// The e-mail of the user with an id.
    pub ids: HashMap<UserId, String>,
    /// The id of the user with a canonical e-mail.
    pub emails: HashMap<String, UserId>,
}

#[derive(Insertable)]
#[diesel(table_name = users)]
struct Row<'a> {
    id: i64,
    email: &'a str,
    hashed_password: &'a str,
    created_at: chrono::NaiveDateTime,
}

impl Target {
    /// Opens the database like [`Db::open`](crate::db::Db::open), and begins the transaction
    /// of the import. Until it ends, no other process can add a user, or, on SQLite, write at
    /// all.
    ///
    /// # Errors
    ///
    /// When the database cannot be opened, migrated or written, or is locked.
    pub fn open(url: &DatabaseUrl) -> Result<Self, TargetError> {
        Self::new(url, || {
            migrate::prepare(url)?;
            let mut connection = connect(url).map_err(|error| OpenProblem::refused(&error))?;
            connection.batch_execute(match connection {
                // The cache has to fit the index on e-mails, which are inserted in random
                // order.
                AnyConnection::Sqlite(_) => "PRAGMA cache_size = -65536; BEGIN IMMEDIATE;",
                #[cfg(feature = "postgres")]
                AnyConnection::Postgres(_) => {
                    "SET statement_timeout = 0;
                     SET idle_in_transaction_session_timeout = 0;
                     BEGIN;
                     LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;"
                }
            })?;
            Ok(Some(connection))
        })
    }

    /// Opens the database without writing to it. A missing file counts as empty.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is locked, or could not be migrated.
    pub fn inspect(url: &DatabaseUrl) -> Result<Self, TargetError> {
        Self::new(url, || {
            let reader = Reader::open(url).map_err(|error| OpenProblem::refused(&error))?;
            check_writable(url, reader.is_some())?;
            let Some(mut reader) = reader else {
                return Ok(None);
            };
            let has_users = migrate::inspect(&mut reader.connection)?;
            Ok(has_users.then_some(reader.connection))
        })
    }

    fn new(
        url: &DatabaseUrl,
        connect: impl FnOnce() -> Result<Option<AnyConnection>, OpenProblem>,
    ) -> Result<Self, TargetError> {
        let opened = connect().and_then(|mut connection| {
            let was_empty = match &mut connection {
                Some(connection) => is_empty(connection)?,
                None => true,
            };
            Ok((connection, was_empty))
        });
        let (connection, was_empty) = opened.map_err(|problem| OpenError {
            url: url.clone(),
            problem,
        })?;
        Ok(Self {
            url: url.clone(),
            connection,
            was_empty,
            lowest_id: None,
        })
    }

    /// The lowest id above all ids assigned so far, for users without a numeric id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn next_id(&mut self) -> Result<UserId, TargetError> {
        let Some(connection) = &mut self.connection else {
            return Ok(UserId(1));
        };
        let query = diesel::sql_query(connection.select(LAST_ID_ON_SQLITE, LAST_ID_ON_POSTGRES));
        let last: QueryResult<LastId> =
            on_backend!(connection, |backend| query.get_result(backend));
        let last = last.map_err(|error| broken(&self.url, &error))?;
        Ok(UserId(last.last.saturating_add(1)))
    }

    /// Looks up the ids and canonical e-mails of a batch of some thousand users.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn find(&mut self, wanted: &[&User]) -> Result<ExistingUsers, TargetError> {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.was_empty) else {
            return Ok(ExistingUsers::default());
        };
        let ids = wanted.iter().map(|user| user.id.0);
        let emails = wanted.iter().map(|user| user.email.as_str());
        let find = || -> QueryResult<_> {
            let columns = (users::id, users::email);
            let mut found: Vec<(i64, String)> = users::table
                .filter(users::id.eq_any(ids))
                .select(columns)
                .load(connection)?;
            // A second query, since a single one with OR might read the whole table.
            let by_email: Vec<(i64, String)> = users::table
                .filter(users::email.eq_any(emails))
                .select(columns)
                .load(connection)?;
            found.extend(by_email);
            Ok(found)
        };
        let mut existing = ExistingUsers::default();
        for (id, email) in find().map_err(|error| broken(&self.url, &error))? {
            existing.emails.insert(email.clone(), UserId(id));
            existing.ids.insert(UserId(id), email);
        }
        Ok(existing)
    }

    /// Adds a batch of some thousand users, whose ids and e-mails must be free, to a database
    /// opened with [`Target::open`].
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn add(&mut self, added: &[User]) -> Result<(), TargetError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        let lowest_added = added.iter().map(|user| user.id).min_by_key(|id| id.0);
        self.lowest_id = self
            .lowest_id
            .into_iter()
            .chain(lowest_added)
            .min_by_key(|id| id.0);
        let mut rows = added.iter().map(|user| Row {
            id: user.id.0,
            email: user.email.as_str(),
            hashed_password: user.hashed_password.expose(),
            created_at: user.created_at.naive_utc(),
        });
        let into = diesel::insert_into(users::table);
        match connection {
            // A statement for each row, prepared once.
            AnyConnection::Sqlite(sqlite) => {
                rows.try_for_each(|row| into.values(row).execute(sqlite).map(drop))
            }
            // A single round trip.
            #[cfg(feature = "postgres")]
            AnyConnection::Postgres(postgres) => into
                .values(rows.collect::<Vec<_>>())
                .execute(postgres)
                .map(drop),
        }
        .map_err(|error| broken(&self.url, &error))
    }

    /// Commits the transaction: the users are on disk, and the next registered user gets a
    /// higher id.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub fn commit(mut self) -> Result<(), TargetError> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        #[cfg(feature = "postgres")]
        if let AnyConnection::Postgres(postgres) = connection {
            postgres
                .batch_execute(ADVANCE_IDS)
                .map_err(|error| broken(&self.url, &error))?;
        }
        if let Some(lowest) = self.lowest_id {
            decoys::consider_from(connection, lowest).map_err(|error| broken(&self.url, &error))?;
        }
        connection
            .batch_execute("COMMIT")
            .map_err(|error| TargetError::InDoubt {
                url: self.url.clone(),
                cause: on_one_line(&error),
            })
    }
}

/// Advances the sequence of ids, as SQLite's AUTOINCREMENT does by itself. It never goes back:
/// the id of a deleted user is not assigned again.
const ADVANCE_IDS: &str = "
    SELECT setval(ids, highest)
    FROM (SELECT pg_get_serial_sequence('users', 'id')::regclass AS ids,
                 max(id) AS highest FROM users) AS now
    WHERE highest > COALESCE(pg_sequence_last_value(ids), 0)";

/// The highest id assigned so far: the id of a deleted user is not assigned again.
const LAST_ID_ON_SQLITE: &str = "
    SELECT max(COALESCE((SELECT max(seq) FROM sqlite_sequence WHERE name = 'users'), 0),
               COALESCE((SELECT max(id) FROM users), 0)) AS last";

const LAST_ID_ON_POSTGRES: &str = "
    SELECT greatest(
        pg_sequence_last_value(pg_get_serial_sequence('users', 'id')::regclass),
        (SELECT max(id) FROM users), 0) AS last";

#[derive(QueryableByName)]
struct LastId {
    #[diesel(sql_type = BigInt)]
    last: i64,
}

fn is_empty(connection: &mut AnyConnection) -> QueryResult<bool> {
    let some: Vec<i64> = users::table.select(users::id).limit(1).load(connection)?;
    Ok(some.is_empty())
}

/// Checks that a file could be written, as far as possible without writing to it.
fn check_writable(url: &DatabaseUrl, exists: bool) -> Result<(), OpenProblem> {
    let DatabaseUrl::Sqlite(path) = url else {
        return Ok(());
    };
    if exists {
        let opened = OpenOptions::new().append(true).open(path);
        return opened
            .map(drop)
            .map_err(|error| OpenProblem::ReadOnly(error.to_string()));
    }
    let folder = Path::new(path)
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    folder.metadata().map(drop).map_err(OpenProblem::Create)
}

fn broken(url: &DatabaseUrl, error: &DieselError) -> TargetError {
    TargetError::Broken {
        url: url.clone(),
        cause: on_one_line(error),
    }
}
