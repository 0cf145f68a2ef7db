//! The fields that several formats share.

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::UnreadableHash;

/// The longest salt in text or base64, in bytes. Django's have 12 or 22,
/// Werkzeug's 8 or 16; both let a service choose its own.
pub(super) const MAX_SALT_BYTES: usize = 128;

/// The base64 with bcrypt's alphabet. The last character of a salt or a digest has unused
/// bits, which some implementations set. They are ignored, as by passlib.
pub(super) const BCRYPT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::BCRYPT,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Splits a text into exactly `N` fields.
pub(super) fn split<const N: usize>(
    text: &str,
    separator: char,
) -> Result<[&str; N], UnreadableHash> {
    let mut fields = text.split(separator);
    let mut found = [""; N];
    for field in &mut found {
        *field = fields.next().ok_or(UnreadableHash::Format)?;
    }
    match fields.next() {
        None => Ok(found),
        Some(_) => Err(UnreadableHash::Format),
    }
}

/// Parses a decimal number as all formats write it: without sign, blanks and leading zeros.
pub(super) fn number(digits: &str) -> Result<u32, UnreadableHash> {
    let is_canonical = digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    match digits.parse() {
        Ok(number) if is_canonical => Ok(number),
        _ => Err(UnreadableHash::Format),
    }
}

/// Parses a salt in text form: printable ASCII, 1 to 128 bytes.
pub(super) fn text_salt(salt: &str) -> Result<Vec<u8>, UnreadableHash> {
    let is_readable = (1..=MAX_SALT_BYTES).contains(&salt.len())
        && salt.bytes().all(|byte| byte.is_ascii_graphic());
    if is_readable {
        Ok(salt.as_bytes().to_owned())
    } else {
        Err(UnreadableHash::Format)
    }
}

/// Parses `N` bytes in lower-case hexadecimal.
pub(super) fn hex<const N: usize>(digits: &str) -> Result<[u8; N], UnreadableHash> {
    let mut bytes = [0; N];
    match base16ct::lower::decode(digits, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(UnreadableHash::Format),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for (digits, expected) in [("0", 0), ("7", 7), ("4294967295", u32::MAX)] {
            assert_eq!(number(digits), Ok(expected));
        }
        for digits in [
            "",
            "00",
            "07",
            "+7",
            "-7",
            " 7",
            "7 ",
            "7_0",
            "0x7",
            "\u{0667}",
            "4294967296",
        ] {
            assert_eq!(number(digits), Err(UnreadableHash::Format), "{digits}");
        }
    }

    #[test]
    fn the_number_of_fields_is_checked() {
        assert_eq!(split("a$$b", '$'), Ok(["a", "", "b"]));
        assert_eq!(split::<2>("a$$b", '$'), Err(UnreadableHash::Format));
        assert_eq!(split::<4>("a$$b", '$'), Err(UnreadableHash::Format));
    }

    #[test]
    fn hexadecimal_is_lower_case_of_the_exact_length() {
        assert_eq!(hex("0aff"), Ok([10, 255]));
        for digits in ["", "0a", "0aff00", "0aFF", "0af", "0afg", "0aé"] {
            assert_eq!(hex::<2>(digits), Err(UnreadableHash::Format), "{digits}");
        }
    }

    #[test]
    fn a_salt_is_printable_and_has_1_to_128_bytes() {
        for salt in ["s", "a-salt_of~their.own", &"s".repeat(128)] {
            assert_eq!(text_salt(salt), Ok(salt.as_bytes().to_owned()));
        }
        for salt in ["", "a salt", "s\0", "s\u{E9}", &"s".repeat(129)] {
            assert_eq!(text_salt(salt), Err(UnreadableHash::Format), "{salt}");
        }
    }
}
