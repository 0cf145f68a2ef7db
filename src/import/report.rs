//! What an import tells a person.

use std::{fmt, path::PathBuf};

use super::{Order, Reason};
use crate::{
    db::{
        DatabaseUrl,
        import::{Origin, SourceId, SourceIds},
    },
    passwords::PepperScheme,
};

/// The most characters of an id or an e-mail that are shown.
const MAX_SHOWN: usize = 64;

/// Hears how an import goes.
pub trait Observer {
    /// It begins, with so many rows to read.
    fn begin(&mut self, rows: u64);
    /// So many have been read.
    fn advance(&mut self, read: u64);
    /// A row cannot be taken.
    fn bad_row(&mut self, row: &BadRow);
}

/// A row that cannot be taken. It displays as one line.
#[derive(Debug)]
pub struct BadRow {
    /// Which one it is in the order of the ids, from 1.
    pub number: u64,
    /// Its id; `None` when that cannot be one.
    pub id: Option<SourceId>,
    /// Its e-mail as it stands there; `None` when that is no text.
    pub email: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for BadRow {
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
        write!(f, ": {}", self.reason)
    }
}

/// A text of another service: quoted and escaped, since it may be anything.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(MAX_SHOWN).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{cut}")
}

/// How an import went. It displays as a few lines for a person.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Rows that were read.
    pub read: u64,
    /// Users who were imported, or could be.
    pub taken: u64,
    /// Users who were there already, with the same id and address.
    pub already_there: u64,
    /// Rows that cannot be taken.
    pub bad: u64,
    /// Of those who were imported, or could be: users without a password.
    pub without_password: u64,
    /// Of those who cannot be taken: rows with nothing wrong but the password.
    pub bad_passwords: u64,
    ids: SourceIds,
    origin: Option<Origin>,
    pepper: Option<PepperScheme>,
    id_map: Option<PathBuf>,
    from: DatabaseUrl,
    into: DatabaseUrl,
    is_dry_run: bool,
    skips_bad: bool,
}

impl Summary {
    pub(super) fn new(order: &Order, ids: SourceIds, origin: Option<Origin>) -> Self {
        Self {
            read: 0,
            taken: 0,
            already_there: 0,
            bad: 0,
            without_password: 0,
            bad_passwords: 0,
            ids,
            origin,
            pepper: order.pepper,
            id_map: order.id_map.clone(),
            from: order.from.clone(),
            into: order.into.clone(),
            is_dry_run: order.is_dry_run,
            skips_bad: order.skips_bad,
        }
    }

    /// Whether no row stands in the way: each can be taken, or left out.
    pub fn is_clean(&self) -> bool {
        self.bad == 0 || self.skips_bad
    }

    /// Whether what can be taken is written.
    pub(super) fn is_written(&self) -> bool {
        !self.is_dry_run && self.is_clean()
    }

    fn ending(&self) -> String {
        if !self.is_clean() {
            let (rows, them) = (rows(self.bad), if self.bad == 1 { "it" } else { "them" });
            return format!(
                "{rows} cannot be taken, and so nobody was imported. Mend what is listed above, \
                 or\nleave {them} out with --skip-bad."
            );
        }
        if self.is_dry_run {
            return "This was a dry run: nothing was written. Leave out --dry-run to import."
                .to_owned();
        }
        if self.taken == 0 {
            return "There was nothing to import: nothing was changed.".to_owned();
        }
        let kept = match self.ids {
            SourceIds::Numbers => "Ids and passwords are as they were.",
            SourceIds::Texts => "Passwords are as they were.",
        };
        let server = match self.pepper {
            Some(_) => "--database-url and --pepper-file",
            None => "--database-url",
        };
        format!(
            "{kept} Sessions and reset tokens were not taken: everybody\n\
             logs in again. Next: bienvenue serve, with the same {server}."
        )
    }

    /// What an operator has to know besides the counts.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.without_password > 0 {
            notes.push(format!(
                "{} without a password {} no login until they ask for a reset and set one by the \
                 link in\nthe mail (RequestPasswordReset, or POST /reset_password).",
                users(self.without_password),
                if self.without_password == 1 {
                    "has"
                } else {
                    "have"
                },
            ));
        }
        if self.bad_passwords > 0 {
            notes.push(format!(
                "{} that cannot be taken {} nothing wrong but the password: --without-password \
                 brings\nsuch users along, to set one by mail.",
                rows(self.bad_passwords),
                if self.bad_passwords == 1 {
                    "has"
                } else {
                    "have"
                },
            ));
        }
        if self.ids == SourceIds::Texts {
            let map = match &self.id_map {
                Some(path) if self.is_written() => {
                    format!("{} says which, as CSV.", path.display())
                }
                Some(path) => format!("the import writes which into {}, as CSV.", path.display()),
                None => "--id-map FILE has the import\nwrite which, as CSV.".to_owned(),
            };
            notes.push(format!(
                "The ids there are no whole numbers: each user gets a new one; {map}"
            ));
        }
        if let Some(origin) = self.origin
            && self.pepper.is_none()
            && self.taken > 0
        {
            notes.push(self.note_on_pepper(origin));
        }
        notes
    }

    /// That a service is known for a secret, which no hash shows.
    fn note_on_pepper(&self, origin: Origin) -> String {
        // A second run would leave them as they are.
        let how = if self.is_written() {
            "Begin again with a new database, with"
        } else {
            "Import them with"
        };
        match origin {
            Origin::FlaskSecurity => format!(
                "The column fs_uniquifier tells that Flask-Security wrote this table, which mixes \
                 a secret\n(SECURITY_PASSWORD_SALT) into each password: without it these users \
                 will not log in.\n{how} --pepper=flask-security and --pepper-file=FILE."
            ),
            Origin::Devise => format!(
                "The column encrypted_password tells that Devise wrote this table. Where its \
                 config.pepper is\nset, these users will not log in without it. {how} \
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
        let taken = if self.is_written() {
            "imported"
        } else {
            "can be imported"
        };
        let bad = if self.is_written() && self.bad > 0 {
            "left out"
        } else {
            "cannot be taken"
        };
        if self.bad > 0 {
            // Between the list and this.
            writeln!(f)?;
        }
        writeln!(
            f,
            "From the database {}\ninto the database {}:\n",
            self.from, self.into
        )?;
        for (number, what) in [
            (self.read, "rows read"),
            (self.taken, taken),
            (self.already_there, "there already, left as they are"),
            (self.bad, bad),
        ] {
            writeln!(f, "{number:>10}  {what}")?;
        }
        if self.without_password > 0 {
            let number = self.without_password;
            writeln!(f, "{number:>10}  of those {taken}: without a password")?;
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

    fn summary(is_dry_run: bool, skips_bad: bool) -> Summary {
        let order = Order {
            from: "sqlite:a.db".parse().unwrap(),
            table: SourceTable::default(),
            into: "sqlite:bienvenue.db".parse().unwrap(),
            is_dry_run,
            skips_bad,
            takes_without_password: false,
            pepper: None,
            id_map: None,
        };
        Summary::new(&order, SourceIds::Numbers, None)
    }

    #[test]
    fn a_row_is_one_tame_line() {
        let row = BadRow {
            number: 3,
            id: Some(SourceId::Number(7)),
            email: Some(format!("\u{1B}[2J\n{}", "a".repeat(90))),
            reason: Reason::NoHash,
        };
        assert_eq!(
            row.to_string(),
            format!(
                "row 3, id 7, \"\\u{{1b}}[2J\\n{}\"…: it has no hashed_password; set one, or \
                 delete it",
                "a".repeat(59)
            )
        );
        let row = BadRow {
            number: 2,
            id: Some(SourceId::Text("5f0c\u{7}".to_owned())),
            email: None,
            reason: Reason::NoEmail,
        };
        assert_eq!(
            row.to_string(),
            "row 2, id \"5f0c\\u{7}\": it has no e-mail; give it one, or delete it"
        );
        let row = BadRow {
            number: 1,
            id: None,
            email: None,
            reason: Reason::NoEmail,
        };
        assert_eq!(
            row.to_string(),
            "row 1: it has no e-mail; give it one, or delete it"
        );
    }

    #[test]
    fn one_row_is_it_and_several_are_them() {
        let mut summary = summary(false, false);
        for (bad, rows, advice) in [
            (1, "One row cannot", "leave it out with --skip-bad."),
            (2, "2 rows cannot", "leave them out with --skip-bad."),
        ] {
            summary.bad = bad;
            let text = summary.to_string();
            assert!(text.contains(rows) && text.contains(advice), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_clean_and_no_dry_run() {
        for (bad, skips_bad, is_dry_run, is_clean, is_written) in [
            (0, false, false, true, true),
            (1, false, false, false, false),
            (1, true, false, true, true),
            (0, false, true, true, false),
            (1, true, true, true, false),
        ] {
            let mut summary = summary(is_dry_run, skips_bad);
            summary.bad = bad;
            assert_eq!(
                (summary.is_clean(), summary.is_written()),
                (is_clean, is_written)
            );
        }
    }
}
