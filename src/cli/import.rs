//! `bienvenue import`: its arguments, and its output during the import.

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
    import::{ImportOptions, InvalidRow, Observer},
    passwords::PepperScheme,
};

/// The time after which a progress bar is shown.
const BAR_AFTER: Duration = Duration::from_millis(500);

/// The arguments of an import.
#[derive(Args, Clone, Debug)]
pub(super) struct ImportArguments {
    /// The database to import from, which is not changed: sqlite:PATH or
    /// postgres://USER@HOST/DATABASE
    #[arg(
        long,
        value_name = "URL",
        // It may contain a password.
        hide_env_values = true
    )]
    from: DatabaseUrl,

    /// File with the password of --from, in one line, not readable by every user
    #[arg(long, value_name = "PATH")]
    from_password_file: Option<PathBuf>,

    /// The table of its users
    #[arg(long, value_name = "NAME", default_value = "users")]
    table: String,

    /// The columns of that table with other names, such as
    /// email=mail,hashed_password=password,id=uuid; the default names are id, email and
    /// hashed_password
    #[arg(long, value_name = "NAMES")]
    columns: Option<ColumnNames>,

    /// The scheme by which the other service mixed a secret, given in pepper-file, into the
    /// passwords: flask-security (its SECURITY_PASSWORD_SALT) or devise (its config.pepper)
    #[arg(long, value_name = "SCHEME", value_parser = pepper_scheme)]
    pepper: Option<PepperScheme>,

    /// Import users with an unusable password hash without a password, to set one by mail
    #[arg(long)]
    without_password: bool,

    /// File to write the old and new ids to, as CSV; it must not exist yet
    #[arg(long, value_name = "PATH")]
    id_map: Option<PathBuf>,

    /// Write nothing; show which users would be imported and which cannot be
    #[arg(long)]
    dry_run: bool,

    /// Leave out invalid rows, instead of importing nothing
    #[arg(long)]
    skip_bad: bool,
}

impl ImportArguments {
    /// The options of the import into a database.
    ///
    /// # Errors
    ///
    /// One line, when the password of the source cannot be read.
    pub(super) fn into_options(self, into: DatabaseUrl) -> Result<ImportOptions, String> {
        let from = match &self.from_password_file {
            Some(file) => {
                config::with_password(&self.from, "--from", file, "--from-password-file")?
            }
            None => self.from,
        };
        Ok(ImportOptions {
            from,
            table: SourceTable {
                name: self.table,
                columns: self.columns.unwrap_or_default(),
            },
            into,
            is_dry_run: self.dry_run,
            skips_invalid: self.skip_bad,
            allows_missing_password: self.without_password,
            pepper: self.pepper,
            id_map: self.id_map,
        })
    }

    /// Whether the other service had a pepper.
    pub(super) fn has_pepper(&self) -> bool {
        self.pepper.is_some()
    }

    /// The warning about a password on the command line.
    pub(super) fn warning(&self) -> Option<&'static str> {
        self.from.holds_secret().then_some(
            "--from was given with a password, which every user of this machine can read in the \
             list of processes: write it into a file and give that as --from-password-file",
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

/// Lists invalid rows on standard output, and shows a progress bar on standard error, if it is
/// a terminal, after half a second. The bar disappears when this is dropped.
pub struct ImportView {
    bar: ProgressBar,
    start: Instant,
    is_drawn: bool,
}

impl ImportView {
    /// A view that shows nothing yet.
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
        if !self.is_drawn && self.start.elapsed() > BAR_AFTER {
            self.is_drawn = true;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn invalid_row(&mut self, row: &InvalidRow) {
        self.bar.suspend(|| {
            // The reader may have closed the pipe.
            let _ = writeln!(io::stdout(), "{row}");
        });
    }
}

impl Drop for ImportView {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
