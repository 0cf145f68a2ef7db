//! The tables `decoys` and `decoy_sampling`: whose stored hashes stand in for those of
//! unknown e-mails.

use diesel::{
    ExpressionMethods as _, JoinOnDsl as _, NullableExpressionMethods as _, OptionalExtension as _,
    QueryDsl as _, RunQueryDsl as _, TextExpressionMethods as _, define_sql_function,
    dsl::count_star,
    result::QueryResult,
    sql_types::{BigInt, Nullable},
    upsert::excluded,
};

use super::{
    Db, DbError,
    connection::AnyConnection,
    schema::{decoy_sampling, decoys, users},
    users::UserRow,
};
use crate::domain::{DecoySlot, Email, HashedPassword, User, UserId, give_slots, refill_slots};

/// How many users are considered in one unit of work, which takes some milliseconds.
const PAGE: i64 = 10_000;

define_sql_function! {
    /// The first of two values that is not NULL.
    fn coalesce(first: Nullable<BigInt>, second: Nullable<BigInt>) -> Nullable<BigInt>;
}

/// What a password is compared with at a login.
#[derive(Clone, Debug)]
pub enum LoginTarget {
    /// The user with the e-mail.
    User(User),
    /// For an unknown e-mail, the stored hash of the user in its slot; `None` where
    /// there is no usable one.
    Decoy(Option<HashedPassword>),
}

/// How far the sampling has come.
#[derive(Clone, Copy, Debug)]
struct Sampling {
    considered: u64,
    last_user_id: Option<i64>,
}

impl Db {
    /// Finds the user with an e-mail, or else the decoy in the e-mail's slot. The
    /// queries, the rows read and the conversions are the same in both cases, so that
    /// their time is too.
    ///
    /// # Errors
    ///
    /// When the database cannot, or when the user's own row is damaged. A damaged row of
    /// the slot's user is no error.
    pub async fn find_login_target(
        &self,
        email: Email,
        slot: DecoySlot,
    ) -> Result<LoginTarget, DbError> {
        self.read(move |connection| {
            let decoy_id = user_in(connection, slot)?;
            let candidates = diesel::alias!(users as candidates);
            let known = candidates
                .filter(candidates.field(users::email).eq(email.as_str()))
                .select(candidates.field(users::id))
                .single_value();
            let row: QueryResult<Option<UserRow>> = users::table
                .filter(users::id.nullable().eq(coalesce(known, decoy_id)))
                .first(connection)
                .optional();
            match row.map_err(DbError::from) {
                Ok(Some(row)) => {
                    let is_known = row.has_email(&email);
                    let hashed_password = row.hashed_password();
                    match User::try_from(row) {
                        Ok(user) if is_known => Ok(LoginTarget::User(user)),
                        Err(damaged) if is_known => Err(damaged),
                        _ => Ok(LoginTarget::Decoy(Some(hashed_password))),
                    }
                }
                Ok(None) => Ok(LoginTarget::Decoy(None)),
                Err(DbError::Fault(_)) if !is_known(connection, &email)? => {
                    Ok(LoginTarget::Decoy(None))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The share of the sample whose stored hashes begin with one of these texts, in percent;
    /// `None` where the sample is empty.
    ///
    /// # Errors
    ///
    /// When the database cannot.
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

    /// Goes on sampling users for the decoys: considers the next ten thousand who have
    /// not been, and fills the slots of users who are gone. Returns whether there are
    /// more. Of several nodes that do this at once, one works and the others return
    /// `false`.
    ///
    /// # Errors
    ///
    /// When the database cannot; nothing has changed then.
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

/// Has the sampling begin anew if users with these ids, the lowest of which is given,
/// would be left out otherwise: those up to the last id have been considered.
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

/// The user in a slot, or in the next slot that has one: the slots of users who were
/// deleted are missing until they are filled again.
fn user_in(connection: &mut AnyConnection, slot: DecoySlot) -> Result<Option<i64>, DbError> {
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

fn is_known(connection: &mut AnyConnection, email: &Email) -> Result<bool, DbError> {
    let id: Option<i64> = users::table
        .filter(users::email.eq(email.as_str()))
        .select(users::id)
        .first(connection)
        .optional()?;
    Ok(id.is_some())
}

/// The state of the sampling, which no other node changes until the unit of work ends;
/// `None` where another node has it.
fn lock_sampling(connection: &mut AnyConnection) -> Result<Option<Sampling>, DbError> {
    let row: Option<(i64, Option<i64>)> = match connection {
        // It has one writer at a time anyway.
        AnyConnection::Sqlite(sqlite) => decoy_sampling::table.first(sqlite),
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

/// Fills the slots of users who are gone. As large a part of all users has gone as of
/// those in the sample.
fn refill(connection: &mut AnyConnection, sampling: Sampling) -> Result<Sampling, DbError> {
    if sampling.considered == 0 {
        return Ok(sampling);
    }
    if let AnyConnection::Sqlite(sqlite) = connection {
        // The command line of SQLite deletes users without what refers to them.
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
        // All of the sample is gone, and so are about all users: begin anew.
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

/// Gives slots to users.
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
        AnyConnection::Postgres(postgres) => upsert!(rows.collect::<Vec<_>>(), postgres)?,
    }
    Ok(())
}

fn no_randomness(error: getrandom::Error) -> DbError {
    DbError::Fault(error.into())
}
