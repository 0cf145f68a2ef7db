//! The printed table, in Markdown.

use std::fmt::{self, Display, Write as _};

use crate::statistics::Spread;

/// The target of a figure.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(least) => measured >= least,
            Self::AtMost(most) => measured <= most,
        }
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least:?}"),
            Self::AtMost(most) => write!(f, "at most {most:?}"),
        }
    }
}

/// A figure and its result.
pub struct Row {
    pub figure: &'static str,
    pub target: Target,
    /// The unit after both numbers: " ms", or nothing for a ratio.
    pub unit: &'static str,
    /// The result, or the reason for its absence.
    pub measured: Result<Measured, String>,
    /// Details of the measurement.
    pub notes: Vec<String>,
}

/// A number, and its context in brackets.
pub struct Measured {
    pub value: f64,
    pub context: String,
}

impl Measured {
    /// The median, with the extremes in brackets.
    pub fn of_rounds(rounds: &Spread) -> Self {
        let Spread {
            least,
            median,
            most,
        } = *rounds;
        Self {
            value: median,
            context: format!("{least:.2} to {most:.2}"),
        }
    }
}

/// The table, followed by the notes.
pub fn render(rows: &[Row]) -> String {
    let mut text = String::from("| figure | target | measured | |\n|---|---|---|---|\n");
    for row in rows {
        let (figure, target, unit) = (row.figure, row.target, row.unit);
        let (measured, verdict) = match &row.measured {
            Ok(Measured { value, context }) => (
                format!("{value:.2}{unit} ({context})"),
                if target.is_met_by(*value) {
                    "met"
                } else {
                    "**missed**"
                },
            ),
            Err(why) => (format!("nothing: {why}"), "**missed**"),
        };
        let _ = writeln!(
            text,
            "| {figure} | {target}{unit} | {measured} | {verdict} |"
        );
    }
    text.push('\n');
    for note in rows.iter().flat_map(|row| &row.notes) {
        let _ = writeln!(text, "- {note}");
    }
    text
}
