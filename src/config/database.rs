use clap::Args;

use super::values;
use crate::db::DatabaseUrl;

/// Where it keeps its data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// sqlite:PATH, a file that is created when it is missing, or
    /// postgres://USER@HOST/DATABASE
    #[arg(
        long,
        env = "DATABASE_URL",
        value_name = "URL",
        default_value = "sqlite:bienvenue.db",
        // It may hold a password.
        hide_env_values = true
    )]
    pub database_url: DatabaseUrl,

    /// How many connections to keep to the database
    #[arg(
        long,
        env = "BIENVENUE_DATABASE_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "10",
        value_parser = values::number(1_u32..=1_000)
    )]
    pub database_connections: u32,
}
