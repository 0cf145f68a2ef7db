//! Advice on a failure to open a database, by the cause.

use std::io::{self, ErrorKind};

/// Phrases in messages of libpq, PostgreSQL and SQLite, each with its advice. The first entry
/// whose phrases all occur applies. Messages in another language get the general advice.
const ON_OPENING: [(&[&str], &str); 22] = [
    (
        &["password authentication failed"],
        "check the user and the password, in --database-url or --database-password-file",
    ),
    (
        &["no password supplied"],
        "give the user's password, in --database-password-file",
    ),
    (
        &["no pg_hba.conf entry"],
        "add a line for this user, database and address to the server's pg_hba.conf, or set \
         sslmode in --database-url to what its lines demand",
    ),
    (
        &["role \"", "does not exist"],
        "create that user at the server (CREATE ROLE with LOGIN), or name another in \
         --database-url",
    ),
    (
        &["database \"", "does not exist"],
        "create it at the server (CREATE DATABASE), or name another in --database-url",
    ),
    (
        &["could not translate host name"],
        "check the host in --database-url",
    ),
    (
        &["Connection refused"],
        "start the server, or check host and port in --database-url",
    ),
    (
        &["No such file or directory"],
        "start the server, or check the folder of its socket in --database-url (host)",
    ),
    (
        &["No route to host"],
        "check the host in --database-url, and the network in between",
    ),
    (
        &["timeout expired"],
        "check host and port in --database-url, and whether a firewall is in between",
    ),
    (
        &["timed out"],
        "check host and port in --database-url, and whether a firewall is in between",
    ),
    (
        &["does not support SSL"],
        "turn TLS on at the server, or leave sslmode out of --database-url",
    ),
    (
        &["certificate"],
        "check the server's certificate, and sslrootcert in --database-url",
    ),
    (&["too many"], FULL),
    (&["remaining connection slots"], FULL),
    (&["starting up"], "wait until it has started"),
    (&["shutting down"], "wait until it has started again"),
    (&["not yet accepting"], "wait until it has started"),
    (
        &["not a database"],
        "name a file of this service in --database-url, or restore a backup",
    ),
    (&["malformed"], "restore a backup"),
    (
        &["unable to open database file"],
        "give this user the right to read and write it and its folder",
    ),
    (&["disk I/O error"], "check its disk"),
];

const FULL: &str =
    "raise max_connections at the server, or lower --database-connections on each node";

/// Advice on a database that does not open or respond.
pub(super) fn on_opening(message: &str) -> &'static str {
    let mut known = ON_OPENING.iter();
    known
        .find(|(phrases, _)| phrases.iter().all(|phrase| message.contains(phrase)))
        .map_or("check --database-url", |(_, advice)| advice)
}

/// Advice on a database that takes no writes.
pub(super) fn on_read_only(message: &str) -> &'static str {
    if message.contains("standby") {
        "name the primary server in --database-url, or all of them, separated by commas"
    } else {
        "give this user the right to write it"
    }
}

/// Advice on a failed migration, after a semicolon.
pub(super) fn on_migrating(message: &str) -> &'static str {
    if message.contains("permission denied for schema") {
        "; make this user the owner of the database, or GRANT CREATE ON SCHEMA public to it"
    } else if message.contains("permission denied") || message.contains("must be owner") {
        "; make this user the owner of the tables"
    } else if message.contains("full") || message.contains("No space left") {
        "; make room on its disk"
    } else {
        ""
    }
}

/// Advice on a failure to create or open a file.
pub(super) fn on_file(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "create its folder first",
        ErrorKind::PermissionDenied => "give this user the right to write its folder",
        ErrorKind::ReadOnlyFilesystem => "mount its volume so that it can be written",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on its volume",
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            "name a file in --database-url, in an existing folder"
        }
        _ => "check that its folder exists and is writable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_advice() {
        for (said, word) in [
            (
                "connection to server at \"db\" (10.0.0.1), port 5432 failed: FATAL: password \
                 authentication failed for user \"ada\"",
                "password",
            ),
            (
                "connection to server at \"db\", port 5432 failed: FATAL: database \"b\" does not \
                 exist",
                "CREATE DATABASE",
            ),
            (
                "connection to server at \"::1\", port 5432 failed: FATAL: role \"ada\" does not \
                 exist",
                "CREATE ROLE",
            ),
            (
                "FATAL: no pg_hba.conf entry for host \"::1\", user \"ada\", database \"b\", no \
                 encryption",
                "pg_hba.conf",
            ),
            ("could not translate host name \"d\" to address", "host"),
            ("FATAL: sorry, too many clients already", "max_connections"),
            ("file is not a database", "backup"),
            ("something new", "check --database-url"),
        ] {
            assert!(
                on_opening(said).contains(word),
                "{said}: {}",
                on_opening(said)
            );
        }
        assert!(on_read_only("server is in hot standby mode").contains("primary"));
        let denied = "permission denied for schema public";
        assert!(on_migrating(denied).contains("GRANT CREATE"));
    }
}
