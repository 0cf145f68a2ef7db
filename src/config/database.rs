use std::path::{Path, PathBuf};

use clap::Args;

use super::values;
use crate::db::DatabaseUrl;

/// The database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// sqlite:PATH, a file created if it is missing, or postgres://USER@HOST/DATABASE
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite:bienvenue.db",
        // It may contain a password.
        hide_env_values = true
    )]
    pub database_url: DatabaseUrl,

    /// File with the password of database-url, in one line, not readable by every
    /// user; without it, PGPASSWORD and PGPASSFILE are used [default: none]
    #[arg(long, env = "BIENVENUE_DATABASE_PASSWORD_FILE", value_name = "PATH")]
    pub database_password_file: Option<PathBuf>,

    /// Number of connections to the database
    #[arg(
        long,
        env = "BIENVENUE_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = values::number(1_u32..=1_000)
    )]
    pub database_connections: u32,
}

impl DatabaseSettings {
    /// Adds the password from its file to the URL.
    ///
    /// # Errors
    ///
    /// One line, when it cannot be read, or cannot be added to the URL.
    pub fn read_password(&mut self) -> Result<(), String> {
        if let Some(file) = &self.database_password_file {
            self.database_url = with_password(
                &self.database_url,
                "--database-url",
                file,
                "--database-password-file",
            )?;
        }
        Ok(())
    }
}

/// A URL with the password from a file. Both settings are named in errors.
///
/// # Errors
///
/// One line, when it cannot be read, or cannot be added to the URL.
pub fn with_password(
    url: &DatabaseUrl,
    url_setting: &str,
    file: &Path,
    file_setting: &str,
) -> Result<DatabaseUrl, String> {
    if url.has_password() {
        return Err(format!(
            "{url_setting} has a password already: remove it from the URL, or leave out \
             {file_setting}"
        ));
    }
    if matches!(url, DatabaseUrl::Sqlite(_)) {
        return Err(format!(
            "{file_setting} is given, and {url_setting} names an SQLite file, which has no \
             password: write postgres://USER@HOST/DATABASE, or leave it out"
        ));
    }
    let password = values::secret(file, file_setting)?;
    Ok(url.with_password(&password).unwrap_or_else(|| url.clone()))
}
