//! The databases of the benchmark, each filled at its first use.

use std::{cell::OnceCell, ops::Range, time::Instant};

use crate::{cores::Cores, database::Database, filling, server};

/// The numbers of sessions.
pub const MANY: u64 = 1_000_000;
pub const FEW: u64 = 10_000;

/// Additional sessions to be ended.
pub const TO_END: Range<u64> = MANY..MANY + 2_000;

/// The reason for missing figures.
pub const NO_POSTGRES: &str = "PostgreSQL is missing (install it, or set TEST_POSTGRES_URL)";

/// The databases, removed when dropped.
pub struct Databases {
    core: u32,
    sqlite: OnceCell<Database>,
    few: OnceCell<Database>,
    postgres: OnceCell<Option<Database>>,
}

impl Databases {
    pub fn new(cores: &Cores) -> Self {
        Self {
            core: cores.of_server(),
            sqlite: OnceCell::new(),
            few: OnceCell::new(),
            postgres: OnceCell::new(),
        }
    }

    /// SQLite, with many sessions.
    pub fn sqlite(&self) -> &Database {
        self.sqlite
            .get_or_init(|| self.filled(Database::sqlite(), TO_END.end, "SQLite"))
    }

    /// SQLite, with few sessions.
    pub fn few(&self) -> &Database {
        self.few
            .get_or_init(|| self.filled(Database::sqlite(), FEW, "SQLite"))
    }

    /// PostgreSQL, with many sessions.
    pub fn postgres(&self) -> Result<&Database, String> {
        let postgres = self.postgres.get_or_init(|| {
            Database::postgres_blocking()
                .map(|database| self.filled(database, TO_END.end, "PostgreSQL"))
        });
        postgres.as_ref().ok_or_else(|| NO_POSTGRES.to_owned())
    }

    fn filled(&self, database: Database, sessions: u64, name: &str) -> Database {
        let start = Instant::now();
        server::migrate(self.core, &database);
        filling::fill(&database, sessions);
        let took = start.elapsed().as_secs_f64();
        eprintln!("{sessions} sessions on {name} in {took:.1} s");
        database
    }
}
