//! A temporary database for one test.

use std::{
    sync::{Arc, mpsc},
    thread,
};

use diesel::{
    Connection as _, PgConnection, RunQueryDsl as _, SqliteConnection,
    connection::SimpleConnection as _, query_builder::SqlQuery,
};
use tempfile::TempDir;
use tokio::{runtime::Builder, task};
use uuid::Uuid;

use super::postgres;

/// An empty database, removed with the last clone.
#[derive(Clone)]
pub struct Database {
    url: String,
    home: Arc<Home>,
}

enum Home {
    /// The folder is removed with the value.
    Sqlite {
        _folder: TempDir,
    },
    Postgres {
        name: String,
        server: &'static str,
    },
}

impl Database {
    /// A file in a temporary folder; it does not exist yet.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self {
            url: format!("sqlite:{}", folder.path().join("bienvenue.db").display()),
            home: Arc::new(Home::Sqlite { _folder: folder }),
        }
    }

    /// A new database on the test server; `None` without a server.
    pub async fn postgres() -> Option<Self> {
        task::spawn_blocking(Self::postgres_blocking)
            .await
            .expect("PostgreSQL is set up")
    }

    /// Like [`Database::postgres`], outside of a runtime.
    pub fn postgres_blocking() -> Option<Self> {
        let server = postgres::url()?;
        let name = format!("bienvenue_{}", Uuid::new_v4().simple());
        run(
            &mut connect_postgres(server),
            &format!("CREATE DATABASE {name}"),
        );
        Some(Self {
            url: with_database(server, &name),
            home: Arc::new(Home::Postgres { name, server }),
        })
    }

    /// Runs a case on its own runtime, which ends before the database is removed: background work
    /// of the case's servers would otherwise wait for a missing database.
    pub fn run<C: Future<Output = ()>>(self, case: impl FnOnce(Self) -> C) {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(case(self.clone()));
    }

    /// Its server as a connection string of libpq, and its name.
    pub fn server_and_name(&self) -> (String, &str) {
        let Home::Postgres { name, server } = &*self.home else {
            panic!("a file");
        };
        let address = server_address(server);
        let (host, port) = address.rsplit_once(':').expect("a port");
        (format!("host={host} port={port}"), name)
    }

    /// The value for `--database-url`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(*self.home, Home::Sqlite { .. })
    }

    /// The SQLite file's path.
    pub fn path(&self) -> &str {
        self.url
            .strip_prefix("sqlite:")
            .expect("an SQLite database")
    }

    /// Runs SQL on a separate connection; returns the number of changed rows.
    pub fn execute(&self, sql: &str) -> usize {
        match *self.home {
            Home::Sqlite { .. } => diesel::sql_query(sql).execute(&mut self.connect_sqlite()),
            Home::Postgres { .. } => {
                diesel::sql_query(sql).execute(&mut connect_postgres(&self.url))
            }
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs several statements.
    pub fn batch(&self, sql: &str) {
        match *self.home {
            Home::Sqlite { .. } => self.connect_sqlite().batch_execute(sql),
            Home::Postgres { .. } => connect_postgres(&self.url).batch_execute(sql),
        }
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The text returned by a query.
    pub fn text(&self, sql: &str) -> String {
        if !self.is_sqlite() {
            return text_of(&self.url, sql);
        }
        let row: Result<TextRow, _> = select_text(sql).get_result(&mut self.connect_sqlite());
        row.unwrap_or_else(|error| panic!("{sql}: {error}")).text
    }

    /// Blocks other writers of mails until the returned sender is dropped.
    pub fn hold_writes(&self) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
        let (release, released) = mpsc::channel::<()>();
        let (held, holds) = mpsc::channel();
        let (url, is_sqlite) = (self.url.clone(), self.is_sqlite());
        let holder = thread::spawn(move || {
            let mut any: Box<dyn FnMut(&str)> = if is_sqlite {
                let path = url.strip_prefix("sqlite:").expect("a file");
                let mut sqlite = SqliteConnection::establish(path).expect("the SQLite file");
                Box::new(move |sql| sqlite.batch_execute(sql).expect(sql))
            } else {
                let mut postgres = connect_postgres(&url);
                Box::new(move |sql| postgres.batch_execute(sql).expect(sql))
            };
            any(if is_sqlite {
                "BEGIN IMMEDIATE"
            } else {
                "BEGIN; LOCK TABLE outgoing_mails IN EXCLUSIVE MODE"
            });
            held.send(()).expect("a waiting test");
            let _ = released.recv();
            any("ROLLBACK");
        });
        holds.recv().expect("a lock");
        (release, holder)
    }

    pub fn connect_sqlite(&self) -> SqliteConnection {
        let mut connection = SqliteConnection::establish(self.path()).expect("the SQLite file");
        connection
            .batch_execute("PRAGMA busy_timeout = 5000")
            .expect("a busy timeout");
        connection
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Self::Postgres { name, server } = self {
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            run(&mut connect_postgres(server), &drop);
        }
    }
}

#[derive(diesel::QueryableByName)]
struct TextRow {
    #[diesel(sql_type = diesel::sql_types::Text)]
    text: String,
}

fn select_text(sql: &str) -> SqlQuery {
    diesel::sql_query(format!("SELECT ({sql}) AS text"))
}

/// The text returned by a query on a PostgreSQL server.
pub fn text_of(url: &str, sql: &str) -> String {
    let row: Result<TextRow, _> = select_text(sql).get_result(&mut connect_postgres(url));
    row.unwrap_or_else(|error| panic!("{sql}: {error}")).text
}

pub fn connect_postgres(url: &str) -> PgConnection {
    PgConnection::establish(url).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn run(connection: &mut PgConnection, sql: &str) {
    connection
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The URL with another database's name.
pub fn with_database(url: &str, name: &str) -> String {
    let (head, parameters) = match url.split_once('?') {
        Some((head, parameters)) => (head, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let (_, rest) = head.split_once("://").expect("a URL");
    let scheme = head.len() - rest.len();
    let host = rest.find('/').map_or(head.len(), |slash| scheme + slash);
    format!("{}/{name}{parameters}", &head[..host])
}

/// The `host:port` of a URL.
pub fn server_address(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a URL");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:5432")
    }
}
