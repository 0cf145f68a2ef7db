//! The parsing of values. An error says what to write instead.

use std::{fmt::Display, ops::RangeInclusive, path::Path, str::FromStr, time::Duration};

use zeroize::Zeroizing;

use crate::secret_file;

/// The longest duration that can be set: ten years.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A duration such as `30d` or `2s`, longer than zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let advice = "write a duration such as 500ms, 10s, 5m, 2h or 7d, up to ten years";
    // M means a month, which is unlikely to be intended.
    match humantime::parse_duration(text) {
        Ok(_) if text.contains('M') => Err(advice.to_owned()),
        Ok(duration) if !duration.is_zero() && duration <= MAX_DURATION => Ok(duration),
        _ => Err(advice.to_owned()),
    }
}

/// A duration, or `0s`.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// A whole number in a range.
pub(super) fn number<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "write a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// A size in bytes, plain or with `KiB` or `MiB`.
pub(super) fn bytes(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (digits, unit) = match text.strip_suffix("MiB") {
            Some(digits) => (digits, 1024 * 1024),
            None => match text.strip_suffix("KiB") {
                Some(digits) => (digits, 1024),
                None => (text, 1),
            },
        };
        digits
            .trim_end()
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|bytes| range.contains(bytes))
            .ok_or_else(|| {
                format!(
                    "write a size such as 16KiB, from {} to {} bytes",
                    range.start(),
                    range.end()
                )
            })
    }
}

/// The secret in the file given by a setting.
pub(super) fn secret(file: &Path, setting: &str) -> Result<Zeroizing<String>, String> {
    secret_file::read(file)
        .map_err(|error| format!("cannot use {setting} {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "7", "0s", "-1s", "11years", "soon", "30M"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration_or_none("0s"), Ok(Duration::ZERO));
        assert_eq!(duration_or_none("5s"), Ok(Duration::from_secs(5)));
        assert!(duration_or_none("").is_err() && duration_or_none("soon").is_err());
        let cost = number(4..=16);
        assert_eq!(cost("16"), Ok(16));
        for wrong in ["", "3", "17", "12.5", "twelve", "-4"] {
            assert!(cost(wrong).is_err(), "{wrong}");
        }
        let size = bytes(1024..=1024 * 1024);
        assert_eq!(size("16KiB"), Ok(16 * 1024));
        assert_eq!(size("1 MiB"), Ok(1024 * 1024));
        assert_eq!(size("2048"), Ok(2048));
        for wrong in ["", "KiB", "1", "2MiB", "16KB", "99999999999999999999MiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
