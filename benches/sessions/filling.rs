//! Inserts users and sessions by SQL, with logins an hour ago and later checks.

use std::{fmt::Write as _, ops::Range};

use bienvenue::clock::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::connection::SimpleConnection as _;
use sha2::{Digest as _, Sha256};
use uuid::Builder;

use crate::{
    database::{Database, connect_postgres},
    ids::session_id,
};

/// The rows per statement, and per transaction.
const ROWS: u64 = 500;
const TOGETHER: u64 = 20_000;

const LOGGED_IN: TimeDelta = TimeDelta::hours(1);
/// Each session was last seen within this time.
const SEEN_WITHIN: TimeDelta = TimeDelta::minutes(15);

/// Not a real hash, since the benchmark makes no logins.
const HASH: &str = "$2b$12$abcdefghijklmnopqrstuu5Wlq8R1Vn0Yq3sRk7yAl0bCz8yq7nG2";

/// Fills an empty migrated database with users of one session each, which needs the most
/// memory per session.
pub fn fill(database: &Database, sessions: u64) {
    let now = Clock::system().now();
    if database.is_sqlite() {
        let mut sqlite = database.connect_sqlite();
        let mut run = |sql: &str| sqlite.batch_execute(sql).expect("rows");
        run("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000;");
        insert(&mut run, "X'", sessions, now);
        run("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);");
    } else {
        let mut postgres = connect_postgres(database.url());
        let mut run = |sql: &str| postgres.batch_execute(sql).expect("rows");
        insert(&mut run, "'\\x", sessions, now);
        // Otherwise PostgreSQL would do this during a measurement.
        run("VACUUM ANALYZE");
        run("CHECKPOINT");
    }
}

fn insert(run: &mut impl FnMut(&str), bytes: &str, sessions: u64, now: DateTime<Utc>) {
    for first in (0..sessions).step_by(TOGETHER as usize) {
        let end = sessions.min(first + TOGETHER);
        run("BEGIN");
        for first in (first..end).step_by(ROWS as usize) {
            let numbers = first..end.min(first + ROWS);
            run(&users(numbers.clone(), now));
            run(&sessions_of(numbers, bytes, now));
        }
        run("COMMIT");
    }
}

fn users(numbers: Range<u64>, now: DateTime<Utc>) -> String {
    let created_at = time(now - LOGGED_IN);
    let row = |sql: &mut String, n: u64| {
        write!(
            sql,
            "({}, 'user{n}@example.com', '{HASH}', '{created_at}')",
            n + 1
        )
    };
    statement(
        "users (id, email, hashed_password, created_at)",
        numbers,
        row,
    )
}

fn sessions_of(numbers: Range<u64>, bytes: &str, now: DateTime<Utc>) -> String {
    let created_at = time(now - LOGGED_IN);
    let row = |sql: &mut String, n: u64| {
        let digest: [u8; 32] = Sha256::digest(session_id(n)).into();
        let (random, _) = digest.as_chunks::<16>();
        let handle = Builder::from_random_bytes(random[1]).into_uuid();
        let spread = SEEN_WITHIN.num_microseconds().unwrap_or_default();
        let seen_at = time(now - TimeDelta::microseconds(n as i64 * 7_919 * 997 % spread));
        write!(sql, "({bytes}")?;
        for byte in digest {
            write!(sql, "{byte:02x}")?;
        }
        write!(
            sql,
            "', '{handle}', {}, '{created_at}', '{seen_at}', '{}', '10.{}.{}.{}')",
            n + 1,
            user_agent(n),
            n >> 16 & 255,
            n >> 8 & 255,
            n & 255,
        )
    };
    statement(
        "sessions (digest, handle, user_id, created_at, last_seen_at, user_agent, ip)",
        numbers,
        row,
    )
}

fn statement(
    table: &str,
    numbers: Range<u64>,
    row: impl Fn(&mut String, u64) -> std::fmt::Result,
) -> String {
    let mut sql = format!("INSERT INTO {table} VALUES ");
    for n in numbers.clone() {
        if n > numbers.start {
            sql.push(',');
        }
        row(&mut sql, n).expect("writing to a string");
    }
    sql
}

/// One of a few hundred browsers.
fn user_agent(n: u64) -> String {
    const SYSTEMS: [&str; 8] = [
        "Windows NT 10.0; Win64; x64",
        "Windows NT 11.0; Win64; x64",
        "Macintosh; Intel Mac OS X 10_15_7",
        "Macintosh; Intel Mac OS X 14_5",
        "X11; Linux x86_64",
        "X11; Ubuntu; Linux x86_64",
        "Linux; Android 14; Pixel 8",
        "Linux; Android 15; SM-S928B",
    ];
    let system = SYSTEMS[(n % 8) as usize];
    let version = 110 + n / 8 % 32;
    if (n / 256).is_multiple_of(4) {
        format!("Mozilla/5.0 ({system}; rv:{version}.0) Gecko/20100101 Firefox/{version}.0")
    } else {
        format!(
            "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/{version}.0.0.0 Safari/537.36"
        )
    }
}

/// A time in the format of both databases.
pub fn time(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M:%S%.6f")
}
