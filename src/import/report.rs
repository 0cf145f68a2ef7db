//! The report of an import.

use std::{fmt, path::PathBuf};

use super::{ImportOptions, RowError};
use crate::{
    db::{
        DatabaseUrl,
        import::{Origin, SourceId, SourceIds},
    },
    passwords::PepperScheme,
};

/// The most characters of an id or an e-mail that are shown.
const MAX_SHOWN: usize = 64;

/// Observes the progress of an import.
pub trait Observer {
    /// The import begins, with so many rows to read.
    fn begin(&mut self, rows: u64);
    /// So many rows have been read.
    fn advance(&mut self, read: u64);
    /// A row cannot be imported.
    fn invalid_row(&mut self, row: &InvalidRow);
}

/// An invalid row. It displays as one line.
#[derive(Debug)]
pub struct InvalidRow {
    /// Its number in the order of the ids, from 1.
    pub number: u64,
    /// Its id; `None` for NULL or a value of another kind.
    pub id: Option<SourceId>,
    /// Its e-mail, unchanged; `None` if it is not a text.
    pub email: Option<String>,
    /// The reason.
    pub error: RowError,
}

impl fmt::Display for InvalidRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.number)?;
        match &self.id {
            Some(SourceId::Number(id)) => write!(f, ", id {id}")?,
            Some(SourceId::Text(id)) => write!(f, ", id {}", shown(id))?,
            None => {}
        }
        if let Some(email) = &self.email {
            write!(f, ", {}", shown(email))?;
        }
        write!(f, ": {}", self.error)
    }
}

/// A text of another service, quoted, escaped and cut: it may contain any characters.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{cut}")
}

/// The result of an import. It displays as a few lines of text.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The number of rows read.
    pub read: u64,
    /// The number of users imported, or, in a dry run, that could be.
    pub imported: u64,
    /// The number of users that existed already, with the same id and address.
    pub already_existing: u64,
    /// The number of invalid rows.
    pub invalid: u64,
    /// The number of imported users without a password.
    pub without_password: u64,
    /// The number of invalid rows of which only the password is invalid.
    pub invalid_passwords: u64,
    ids: SourceIds,
    origin: Option<Origin>,
    pepper: Option<PepperScheme>,
    id_map: Option<PathBuf>,
    from: DatabaseUrl,
    into: DatabaseUrl,
    is_dry_run: bool,
    skips_invalid: bool,
}

impl Summary {
    pub(super) fn new(options: &ImportOptions, ids: SourceIds, origin: Option<Origin>) -> Self {
        Self {
            read: 0,
            imported: 0,
            already_existing: 0,
            invalid: 0,
            without_password: 0,
            invalid_passwords: 0,
            ids,
            origin,
            pepper: options.pepper,
            id_map: options.id_map.clone(),
            from: options.from.clone(),
            into: options.into.clone(),
            is_dry_run: options.is_dry_run,
            skips_invalid: options.skips_invalid,
        }
    }

    /// Whether every row is valid or skipped.
    pub fn is_clean(&self) -> bool {
        self.invalid == 0 || self.skips_invalid
    }

    /// Whether the valid rows are written.
    pub(super) fn is_written(&self) -> bool {
        !self.is_dry_run && self.is_clean()
    }

    fn ending(&self) -> String {
        if !self.is_clean() {
            let (rows, them) = (
                rows(self.invalid),
                if self.invalid == 1 { "it" } else { "them" },
            );
            return format!(
                "{rows} cannot be imported, and so no user was imported. Correct the rows listed \
                 above, or\nleave {them} out with --skip-bad."
            );
        }
        if self.is_dry_run {
            return "This was a dry run: nothing was written. Leave out --dry-run to import."
                .to_owned();
        }
        if self.imported == 0 {
            return "There was nothing to import: nothing was changed.".to_owned();
        }
        let kept = match self.ids {
            SourceIds::Numbers => "Ids and passwords are unchanged.",
            SourceIds::Texts => "Passwords are unchanged.",
        };
        let server = match self.pepper {
            Some(_) => "--database-url and --pepper-file",
            None => "--database-url",
        };
        format!(
            "{kept} Sessions and reset tokens were not imported: users\n\
             have to log in again. Next: bienvenue serve, with the same {server}."
        )
    }

    /// Advice for the operator besides the counts.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.without_password > 0 {
            notes.push(format!(
                "{} without a password cannot log in until they request a reset and set one by the \
                 link in\nthe mail (RequestPasswordReset, or POST /reset_password).",
                users(self.without_password),
            ));
        }
        if self.invalid_passwords > 0 {
            notes.push(format!(
                "{} that cannot be imported {} only an invalid password: --without-password \
                 imports\nsuch users without one, to set it by mail.",
                rows(self.invalid_passwords),
                if self.invalid_passwords == 1 {
                    "has"
                } else {
                    "have"
                },
            ));
        }
        if self.ids == SourceIds::Texts {
            let map = match &self.id_map {
                Some(path) if self.is_written() => {
                    format!("{} lists both, as CSV.", path.display())
                }
                Some(path) => format!("the import lists both in {}, as CSV.", path.display()),
                None => "with --id-map FILE\nthe import lists both, as CSV.".to_owned(),
            };
            notes.push(format!(
                "The ids of the source are not whole numbers: each user gets a new one; {map}"
            ));
        }
        if let Some(origin) = self.origin
            && self.pepper.is_none()
            && self.imported > 0
        {
            notes.push(self.note_on_pepper(origin));
        }
        notes
    }

    /// The advice that the source's service mixes a secret into passwords, which the hashes do
    /// not show.
    fn note_on_pepper(&self, origin: Origin) -> String {
        // A second import would leave existing users unchanged.
        let how = if self.is_written() {
            "Repeat the import into a new database, with"
        } else {
            "Import them with"
        };
        match origin {
            Origin::FlaskSecurity => format!(
                "The column fs_uniquifier shows that Flask-Security created this table. It mixes a \
                 secret\n(SECURITY_PASSWORD_SALT) into each password: without it these users \
                 cannot log in.\n{how} --pepper=flask-security and --pepper-file=FILE."
            ),
            Origin::Devise => format!(
                "The column encrypted_password shows that Devise created this table. If its \
                 config.pepper is\nset, these users cannot log in without it. {how} \
                 --pepper=devise\nand --pepper-file=FILE then."
            ),
        }
    }
}

fn users(number: u64) -> String {
    match number {
        1 => "One user".to_owned(),
        number => format!("{number} users"),
    }
}

fn rows(number: u64) -> String {
    match number {
        1 => "One row".to_owned(),
        number => format!("{number} rows"),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let imported = if self.is_written() {
            "imported"
        } else {
            "can be imported"
        };
        let invalid = if self.is_written() && self.invalid > 0 {
            "left out"
        } else {
            "cannot be imported"
        };
        if self.invalid > 0 {
            // Separates the list of rows from the summary.
            writeln!(f)?;
        }
        writeln!(
            f,
            "From the database {}\ninto the database {}:\n",
            self.from, self.into
        )?;
        for (number, label) in [
            (self.read, "rows read"),
            (self.imported, imported),
            (self.already_existing, "existing already, left unchanged"),
            (self.invalid, invalid),
        ] {
            writeln!(f, "{number:>10}  {label}")?;
        }
        if self.without_password > 0 {
            let number = self.without_password;
            writeln!(f, "{number:>10}  of those {imported}: without a password")?;
        }
        for note in self.notes() {
            writeln!(f, "\n{note}")?;
        }
        writeln!(f, "\n{}", self.ending())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::import::SourceTable;

    fn summary(is_dry_run: bool, skips_invalid: bool) -> Summary {
        let options = ImportOptions {
            from: "sqlite:a.db".parse().unwrap(),
            table: SourceTable::default(),
            into: "sqlite:bienvenue.db".parse().unwrap(),
            is_dry_run,
            skips_invalid,
            allows_missing_password: false,
            pepper: None,
            id_map: None,
        };
        Summary::new(&options, SourceIds::Numbers, None)
    }

    #[test]
    fn a_row_is_one_safe_line() {
        let row = InvalidRow {
            number: 3,
            id: Some(SourceId::Number(7)),
            email: Some(format!("\u{1B}[2J\n{}", "a".repeat(90))),
            error: RowError::NoHash,
        };
        assert_eq!(
            row.to_string(),
            format!(
                "row 3, id 7, \"\\u{{1b}}[2J\\n{}\"…: it has no hashed_password; set one, or \
                 delete it",
                "a".repeat(59)
            )
        );
        let row = InvalidRow {
            number: 2,
            id: Some(SourceId::Text("5f0c\u{7}".to_owned())),
            email: None,
            error: RowError::NoEmail,
        };
        assert_eq!(
            row.to_string(),
            "row 2, id \"5f0c\\u{7}\": it has no e-mail; give it one, or delete it"
        );
        let row = InvalidRow {
            number: 1,
            id: None,
            email: None,
            error: RowError::NoEmail,
        };
        assert_eq!(
            row.to_string(),
            "row 1: it has no e-mail; give it one, or delete it"
        );
    }

    #[test]
    fn one_row_is_singular_and_several_are_plural() {
        let mut summary = summary(false, false);
        for (bad, rows, advice) in [
            (1, "One row cannot", "leave it out with --skip-bad."),
            (2, "2 rows cannot", "leave them out with --skip-bad."),
        ] {
            summary.invalid = bad;
            let text = summary.to_string();
            assert!(text.contains(rows) && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn only_a_clean_import_is_written() {
        for (bad, skips_invalid, is_dry_run, is_clean, is_written) in [
            (0, false, false, true, true),
            (1, false, false, false, false),
            (1, true, false, true, true),
            (0, false, true, true, false),
            (1, true, true, true, false),
        ] {
            let mut summary = summary(is_dry_run, skips_invalid);
            summary.invalid = bad;
            assert_eq!(
                (summary.is_clean(), summary.is_written()),
                (is_clean, is_written)
            );
        }
    }
}
