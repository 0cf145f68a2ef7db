//! Whether an output is like the one that a page shows: the same JSON except for the values
//! of its fields, or else the same lines except for numbers, dates and secrets. `…` stands for
//! any lines.

use serde_json::{Deserializer, Map, Value};

use super::shell::Outcome;

pub fn is_like(shown: &str, outcome: &Outcome) -> Result<(), String> {
    if let Some(shown) = json(shown) {
        let found = json(&outcome.stdout()).ok_or("It is no JSON.")?;
        return if shapes(&shown) == shapes(&found) {
            Ok(())
        } else {
            Err(format!("It should have the fields of {shown:?}"))
        };
    }
    let found = format!("{}\n{}", outcome.stdout(), outcome.stderr());
    let found: Vec<_> = found.lines().map(words).collect();
    let shown = shown
        .lines()
        .filter(|line| !line.is_empty() && *line != "…");
    match shown.into_iter().find(|line| !found.contains(&words(line))) {
        None => Ok(()),
        Some(line) => Err(format!("It should have a line like: {line}")),
    }
}

/// The JSON values of a text; `None` where the text is not JSON.
fn json(text: &str) -> Option<Vec<Value>> {
    let values: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter().collect();
    values.ok().filter(|values| !values.is_empty())
}

fn shapes(values: &[Value]) -> Vec<Value> {
    values.iter().map(shape).collect()
}

/// A value with its kind in place of each number and text.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), shape(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(shapes(items)),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        other => other.clone(),
    }
}

/// The words of a line, with `#` for those that differ from run to run.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .map(|word| if is_particular(word) { "#" } else { word })
        .collect()
}

fn is_particular(word: &str) -> bool {
    const UNITS: [&str; 2] = ["ms", "s"];
    const CALENDAR: [&str; 19] = [
        "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun", "Jan", "Feb", "Mar", "Apr", "May", "Jun",
        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    word.contains(|character: char| character.is_ascii_digit())
        || word.contains("sess_")
        || UNITS.contains(&word)
        || CALENDAR.iter().any(|name| word.starts_with(name))
}
