//! `bienvenue import`: what it is told, and what it shows on the way.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    config,
    db::{
        DatabaseUrl,
        import::{ColumnNames, SourceTable},
    },
    import::{BadRow, Observer, Order},
    passwords::PepperScheme,
};

/// How long an import takes before it is worth a bar.
const MOMENT: Duration = Duration::from_millis(500);

/// What to import.
#[derive(Args, Clone, Debug)]
pub(super) struct ImportArguments {
    /// The database to import from, which is not changed: sqlite:PATH or
    /// postgres://USER@HOST/DATABASE
    #[arg(
        long,
        value_name = "URL",
        // It may hold a password.
        hide_env_values = true
    )]
    from: DatabaseUrl,

    /// File with the password of --from, in one line, not readable by every user
    #[arg(long, value_name = "PATH")]
    from_password_file: Option<PathBuf>,

    /// The table of its users
    #[arg(long, value_name = "NAME", default_value = "users")]
    table: String,

    /// Which columns of that table have other names, such as
    /// email=mail,hashed_password=password,id=uuid; those that are left out are id, email and
    /// hashed_password
    #[arg(long, value_name = "NAMES")]
    columns: Option<ColumnNames>,

    /// What the other service mixed into the passwords, by a secret that stands in
    /// pepper-file: flask-security (its SECURITY_PASSWORD_SALT) or devise (its config.pepper)
    #[arg(long, value_name = "SCHEME", value_parser = pepper_scheme)]
    pepper: Option<PepperScheme>,

    /// Bring users along whose password cannot be taken, to set one by mail
    #[arg(long)]
    without_password: bool,

    /// File to write the ids there and here into, as CSV; it must not be there yet
    #[arg(long, value_name = "PATH")]
    id_map: Option<PathBuf>,

    /// Write nothing; show what would be imported and what cannot be
    #[arg(long)]
    dry_run: bool,

    /// Leave out the rows that cannot be taken, instead of importing nothing
    #[arg(long)]
    skip_bad: bool,
}

impl ImportArguments {
    /// What to import into a database.
    ///
    /// # Errors
    ///
    /// One line, when the password of the other one cannot be read.
    pub(super) fn into_order(self, into: DatabaseUrl) -> Result<Order, String> {
        let from = match &self.from_password_file {
            Some(file) => {
                config::with_password(&self.from, "--from", file, "--from-password-file")?
            }
            None => self.from,
        };
        Ok(Order {
            from,
            table: SourceTable {
                name: self.table,
                columns: self.columns.unwrap_or_default(),
            },
            into,
            is_dry_run: self.dry_run,
            skips_bad: self.skip_bad,
            takes_without_password: self.without_password,
            pepper: self.pepper,
            id_map: self.id_map,
        })
    }

    /// Whether the other service had a pepper.
    pub(super) fn has_pepper(&self) -> bool {
        self.pepper.is_some()
    }

    /// What to say of a password that every user of the machine can read in the list of
    /// processes.
    pub(super) fn warning(&self) -> Option<&'static str> {
        self.from.holds_secret().then_some(
            "--from was given with a password, which every user of this machine can read in \
             the list of processes: write it into a file that --from-password-file names",
        )
    }
}

fn pepper_scheme(text: &str) -> Result<PepperScheme, String> {
    let mut schemes = PepperScheme::ALL.into_iter();
    schemes.find(|scheme| scheme.name() == text).ok_or_else(|| {
        format!(
            "write {}",
            PepperScheme::ALL.map(PepperScheme::name).join(" or ")
        )
    })
}

/// Lists bad rows on standard output and draws a bar on standard error, where
/// that is a terminal, when it takes longer than a moment. The bar is gone when
/// this is dropped.
pub struct ImportView {
    bar: ProgressBar,
    start: Instant,
    is_drawn: bool,
}

impl ImportView {
    /// Shows nothing yet.
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            start: Instant::now(),
            is_drawn: false,
        }
    }
}

impl Default for ImportView {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for ImportView {
    fn begin(&mut self, rows: u64) {
        self.bar.set_length(rows);
        let style = "{wide_bar} {human_pos} of {human_len} rows, {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(style) {
            self.bar.set_style(style);
        }
    }

    fn advance(&mut self, read: u64) {
        self.bar.set_position(read);
        if !self.is_drawn && self.start.elapsed() > MOMENT {
            self.is_drawn = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn bad_row(&mut self, row: &BadRow) {
        self.bar.suspend(|| {
            // To whoever still reads.
            let _ = writeln!(io::stdout(), "{row}");
        });
    }
}

impl Drop for ImportView {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
