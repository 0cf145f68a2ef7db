//! Texts of other parties on one line, safe for a terminal and for the log.

/// A text on one line: white space of any kind becomes single spaces, and unseen characters are
/// escaped.
pub fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            match is_unseen(c) {
                true => line.extend(c.escape_unicode()),
                false => line.push(c),
            }
        }
    }
    line
}

/// Whether a character is not seen, or hides or reorders its neighbours: controls, line
/// separators, format characters (Unicode's category Cf), fillers and variation selectors.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_safe_line() {
        for (text, line) in [
            ("no such \"table\"", "no such \"table\""),
            (
                "one\n\ttwo\u{2028}three\u{85}four\r\n",
                "one two three four",
            ),
            ("\u{1B}[2J\u{7}\u{9B}31m", r"\u{1b}[2J\u{7}\u{9b}31m"),
            ("\u{202E}txt\u{2066}\u{61C}", r"\u{202e}txt\u{2066}\u{61c}"),
            ("a\u{200B}b\u{E0041}", r"a\u{200b}b\u{e0041}"),
            ("m\u{FC}\u{DF}ig e\u{301}", "m\u{FC}\u{DF}ig e\u{301}"),
            (" \n", ""),
        ] {
            assert_eq!(on_one_line(text), line);
        }
    }
}
