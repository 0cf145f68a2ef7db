//! Invisible and misleading characters in an address. An error has to name them, since the
//! text looks right to its reader.

use std::fmt;

use super::one_line::is_unseen;

/// The first such character that can be the reason for a refusal. It displays as its code
/// point, its position and a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddCharacter {
    character: char,
    /// Counted from 1, in characters.
    position: usize,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    LocalPart,
    Domain,
    /// It looks like an @ and stands in its place.
    Between,
}

impl OddCharacter {
    /// Finds the first one in an address.
    pub(super) fn find(address: &str) -> Option<Self> {
        let at = address.find('@');
        let mut characters = address.char_indices().zip(1..);
        characters.find_map(|((index, character), position)| {
            let place = match at {
                None if is_like_at(character) => Place::Between,
                Some(at) if index > at => Place::Domain,
                _ => Place::LocalPart,
            };
            let is_odd = match place {
                Place::Between => true,
                // Domains may contain letters of every script.
                Place::Domain => is_blank(character),
                Place::LocalPart => at.is_some() && (is_blank(character) || !character.is_ascii()),
            };
            is_odd.then_some(Self {
                character,
                position,
                place,
            })
        })
    }
}

impl fmt::Display for OddCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            character,
            position,
            place,
        } = *self;
        write!(f, "character {position} is ")?;
        if character == ' ' {
            f.write_str("a space")?;
        } else {
            write!(f, "U+{:04X}", u32::from(character))?;
            match name(character) {
                Some(name) => write!(f, " ({name})")?,
                None if is_letter(character) => write!(f, " ({character})")?,
                None => {}
            }
        }
        f.write_str(match place {
            Place::Between => ", which is not the @ of an address; write @ in its place",
            Place::LocalPart if is_letter(character) => {
                ", which cannot stand before the @; write ASCII letters there"
            }
            Place::LocalPart => ", which cannot stand before the @; delete it",
            Place::Domain => ", which cannot stand after the @; delete it",
        })
    }
}

fn is_letter(character: char) -> bool {
    character.is_alphanumeric() && !is_blank(character)
}

fn is_like_at(character: char) -> bool {
    matches!(character, '\u{FF20}' | '\u{FE6B}')
}

/// White space, or a character that is not seen at all.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || is_unseen(character)
}

/// The characters that keyboards, documents and web pages leave in a text most often.
fn name(character: char) -> Option<&'static str> {
    Some(match character {
        '\t' => "a tab",
        '\n' => "a line feed",
        '\r' => "a carriage return",
        '\u{A0}' | '\u{202F}' => "a no-break space",
        '\u{AD}' => "a soft hyphen",
        '\u{200B}' => "a zero-width space",
        '\u{200C}' => "a zero-width non-joiner",
        '\u{200D}' => "a zero-width joiner",
        '\u{200E}' => "a left-to-right mark",
        '\u{200F}' => "a right-to-left mark",
        '\u{2028}' | '\u{2029}' => "a line separator",
        '\u{2060}' => "a word joiner",
        '\u{3000}' => "a wide space",
        '\u{FE6B}' => "a small @",
        '\u{FEFF}' => "a byte order mark",
        '\u{FF20}' => "a fullwidth @",
        _ if character.is_control() => "a control character",
        _ if character.is_whitespace() => "a space of another width",
        _ => return None,
    })
}
