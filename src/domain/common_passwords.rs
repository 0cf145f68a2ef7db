//! Common passwords, which attackers try first.

use std::sync::LazyLock;

/// 30,000 passwords from published breaches, in lower case and sorted by
/// bytes: the `passwords` frequency list of zxcvbn, under the licence in
/// `common_passwords.LICENSE`.
static LIST: &str = include_str!("common_passwords.txt");

/// Words that name this service, and are an obvious guess.
const CONTEXT_WORDS: [&str; 1] = ["bienvenue"];

static SORTED: LazyLock<Vec<&'static str>> = LazyLock::new(|| LIST.lines().collect());

/// Whether the whole password, in any case, is a common one. A password that merely
/// contains one is allowed (NIST SP 800-63B-4, 3.1.1.2).
pub(super) fn contains(password: &str) -> bool {
    let folded = zeroize::Zeroizing::new(password.to_lowercase());
    CONTEXT_WORDS.contains(&folded.as_str()) || SORTED.binary_search(&folded.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_can_be_searched_and_is_long_enough() {
        assert!(SORTED.is_sorted());
        assert!(SORTED.iter().all(|entry| *entry == entry.to_lowercase()));
        // ASVS 6.2.4: at least 3,000 that the length rule alone would allow.
        assert!(SORTED.iter().filter(|entry| entry.len() >= 8).count() >= 3_000);
    }

    #[test]
    fn only_whole_passwords_are_common() {
        for common in ["password1", "PassWord1", "qwertyuiop", "Bienvenue"] {
            assert!(contains(common), "{common}");
        }
        for fine in ["correct horse battery", "my password1 is long"] {
            assert!(!contains(fine), "{fine}");
        }
    }
}
