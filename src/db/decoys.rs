//! The tables `decoys` and `decoy_sampling`: a sample of the users, whose stored hashes take
//! the place of those of unknown e-mails.

use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, OptionalExtension as _, QueryDsl as _,
    RunQueryDsl as _, TextExpressionMethods as _, dsl::count_star, result::QueryResult,
    upsert::excluded,
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{decoy_sampling, decoys, users},
};
use crate::domain::{DecoySlot, UserId, give_slots, refill_slots};

/// The number of users considered in one unit of work, which takes some milliseconds.
const PAGE: i64 = 10_000;

/// The progress of the sampling.
#[derive(Clone, Copy, Debug)]
struct Sampling {
    considered: u64,
    last_user_id: Option<i64>,
}

impl Db {
    /// The percentage of the sample whose stored hashes begin with one of these texts;
    /// `None` where the sample is empty.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn percent_of_decoys(&self, prefixes: Vec<String>) -> Result<Option<f64>, DbError> {
        self.read(move |connection| {
            let sampled: i64 = decoys::table.select(count_star()).first(connection)?;
            let mut found = 0;
            for prefix in prefixes {
                let with_prefix: i64 = decoys::table
                    .inner_join(users::table.on(users::id.eq(decoys::user_id)))
                    .filter(users::hashed_password.like(format!("{prefix}%")))
                    .select(count_star())
                    .first(connection)?;
                found += with_prefix;
            }
            Ok((sampled > 0).then(|| found as f64 * 100.0 / sampled as f64))
        })
        .await
    }

    /// Continues to sample users for the decoys: considers the next ten thousand users, and
    /// fills the slots of deleted users. Returns whether there are more. Of several nodes
    /// that do this at once, one works and the others return `false`.
    ///
    /// # Errors
    ///
    /// When the database fails; nothing has changed.
    pub async fn sample_decoys(&self) -> Result<bool, DbError> {
        self.write(|connection| {
            let Some(sampling) = lock_sampling(connection)? else {
                return Ok(false);
            };
            let sampling = refill(connection, sampling)?;
            let newcomers: Vec<i64> = users::table
                .filter(users::id.gt(sampling.last_user_id.unwrap_or(i64::MIN)))
                .order(users::id)
                .limit(PAGE)
                .select(users::id)
                .load(connection)?;
            let Some(last_user_id) = newcomers.last().copied() else {
                return Ok(false);
            };
            let has_more = newcomers.len() as i64 == PAGE;
            let newcomers: Vec<UserId> = newcomers.into_iter().map(UserId).collect();
            let given = give_slots(sampling.considered, &newcomers);
            put(connection, given.map_err(no_randomness)?)?;
            let considered = sampling.considered + newcomers.len() as u64;
            set_sampling(
                connection,
                Sampling {
                    considered,
                    last_user_id: Some(last_user_id),
                },
            )?;
            Ok(has_more)
        })
        .await
    }
}

/// Restarts the sampling if added users, the lowest of whose ids is given, would be left out
/// otherwise: ids up to the last considered one are not considered again.
pub(super) fn consider_from(connection: &mut AnyConnection, lowest: UserId) -> QueryResult<()> {
    let left_out = decoy_sampling::table.filter(decoy_sampling::last_user_id.ge(lowest.0));
    diesel::update(left_out)
        .set((
            decoy_sampling::considered.eq(0),
            decoy_sampling::last_user_id.eq(None::<i64>),
        ))
        .execute(connection)?;
    Ok(())
}

/// The user in a slot, or in the next slot with one: the slots of deleted users are missing
/// until they are filled again.
pub(super) fn user_in(
    connection: &mut AnyConnection,
    slot: DecoySlot,
) -> Result<Option<i64>, DbError> {
    let found = decoys::table
        .filter(decoys::slot.ge(i64::from(slot.number())))
        .order(decoys::slot)
        .select(decoys::user_id)
        .first(connection)
        .optional()?;
    if found.is_some() {
        return Ok(found);
    }
    let first = decoys::table.order(decoys::slot).select(decoys::user_id);
    Ok(first.first(connection).optional()?)
}

/// Locks and reads the progress of the sampling; `None` where another node has locked it.
fn lock_sampling(connection: &mut AnyConnection) -> Result<Option<Sampling>, DbError> {
    let row: Option<(i64, Option<i64>)> = match connection {
        // SQLite has one writer at a time.
        AnyConnection::Sqlite(sqlite) => decoy_sampling::table.first(sqlite),
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => decoy_sampling::table
            .for_update()
            .skip_locked()
            .first(postgres),
    }
    .optional()?;
    Ok(row.map(|(considered, last_user_id)| Sampling {
        considered: considered.unsigned_abs(),
        last_user_id,
    }))
}

fn set_sampling(connection: &mut AnyConnection, sampling: Sampling) -> Result<(), DbError> {
    let considered = i64::try_from(sampling.considered).unwrap_or(i64::MAX);
    diesel::update(decoy_sampling::table)
        .set((
            decoy_sampling::considered.eq(considered),
            decoy_sampling::last_user_id.eq(sampling.last_user_id),
        ))
        .execute(connection)?;
    Ok(())
}

/// Fills the slots of deleted users. The deleted share of all users is taken to be that of
/// the sample.
fn refill(connection: &mut AnyConnection, sampling: Sampling) -> Result<Sampling, DbError> {
    if sampling.considered == 0 {
        return Ok(sampling);
    }
    if let AnyConnection::Sqlite(sqlite) = connection {
        // SQLite's command line deletes users without the rows that refer to them.
        let dangling = "DELETE FROM decoys
                        WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.id = decoys.user_id)";
        diesel::sql_query(dangling).execute(sqlite)?;
    }
    let filled: i64 = decoys::table.select(count_star()).first(connection)?;
    if filled == i64::from(DecoySlot::COUNT) {
        return Ok(sampling);
    }
    let rows: Vec<(i64, i64)> = decoys::table.order(decoys::slot).load(connection)?;
    let sampled: Vec<UserId> = rows.iter().map(|(_, user_id)| UserId(*user_id)).collect();
    let empty: Vec<DecoySlot> = DecoySlot::all()
        .filter(|slot| {
            let number = i64::from(slot.number());
            rows.binary_search_by_key(&number, |(slot, _)| *slot)
                .is_err()
        })
        .collect();
    put(
        connection,
        refill_slots(&empty, &sampled).map_err(no_randomness)?,
    )?;
    if sampled.is_empty() {
        // The whole sample was deleted, and so nearly all users were: the sampling restarts.
        return Ok(Sampling {
            considered: 0,
            last_user_id: None,
        });
    }
    let left = u128::from(sampling.considered) * sampled.len() as u128;
    let left = Sampling {
        considered: u64::try_from(left / u128::from(DecoySlot::COUNT)).unwrap_or(u64::MAX),
        ..sampling
    };
    set_sampling(connection, left)?;
    Ok(left)
}

/// Stores which users have which slots.
fn put(connection: &mut AnyConnection, given: Vec<(DecoySlot, UserId)>) -> Result<(), DbError> {
    let mut rows = given.into_iter().map(|(slot, user)| {
        (
            decoys::slot.eq(i64::from(slot.number())),
            decoys::user_id.eq(user.0),
        )
    });
    macro_rules! upsert {
        ($values:expr, $connection:expr) => {
            diesel::insert_into(decoys::table)
                .values($values)
                .on_conflict(decoys::slot)
                .do_update()
                .set(decoys::user_id.eq(excluded(decoys::user_id)))
                .execute($connection)
                .map(drop)
        };
    }
    match connection {
        // One statement, prepared once.
        AnyConnection::Sqlite(sqlite) => rows.try_for_each(|row| upsert!(row, sqlite))?,
        // One round trip.
        #[cfg(feature = "postgres")]
        AnyConnection::Postgres(postgres) => upsert!(rows.collect::<Vec<_>>(), postgres)?,
    }
    Ok(())
}

fn no_randomness(error: getrandom::Error) -> DbError {
    DbError::Fault(error.into())
}
