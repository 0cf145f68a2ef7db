//! What to do about a mail server that does not take a mail, by its cause.

use super::error::Step;

/// The reply codes that speak of the login, at whichever command a server asks for it
/// (RFC 4954, 6): the settings are wrong then, not the message.
pub(super) const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];

const CREDENTIALS: &str = "; check the user and the password of --smtp-url";

/// About a step that the server has refused; begins with a semicolon.
pub(super) fn on_refusal(step: Step, code: u16) -> &'static str {
    match (step, code) {
        (_, 530) => {
            "; the server wants a login, or TLS, first: write a user and a password into \
             --smtp-url, and smtps:// or ?tls=required"
        }
        (_, 534) => {
            "; the server wants another way to log in: create a password for applications there, \
             and write that into --smtp-url"
        }
        (_, 535) => CREDENTIALS,
        (_, 538) => "; the server takes a login under TLS only: write ?tls=required in --smtp-url",
        (Step::Connection, _) => {
            "; the server takes no mail from this machine, for now or at all: its operator can \
             say why"
        }
        (Step::Encryption, _) => "; the server cannot begin TLS just now: see its log",
        (Step::Login, 400..=499) => "; the server cannot check passwords just now",
        (Step::Mechanism | Step::Login, _) => CREDENTIALS,
        (Step::Sender, 500..) => "; set --mail-from to an address that the server sends for",
        (Step::Sender | Step::Recipient | Step::Message, _) => "",
    }
}

/// About a step at which there was no server, no trust in it, or no conversation.
pub(super) fn on_failure(step: Step) -> &'static str {
    match step {
        Step::Connection => "; check the host and port of --smtp-url, and the server",
        Step::Encryption => {
            "; check the scheme and port of --smtp-url, and the server's certificate: it has to \
             name that host, and its authority has to be known to this machine (the package \
             ca-certificates, or a file named by SSL_CERT_FILE)"
        }
        Step::Mechanism => {
            "; it takes neither PLAIN nor LOGIN here: write ?tls=required in --smtp-url where it \
             takes them under TLS only, or use a server and a user that log in by password"
        }
        Step::Login | Step::Sender | Step::Recipient | Step::Message => {
            "; the server has ended the conversation: see its log"
        }
    }
}

/// About a step that the server did not get beyond in time.
pub(super) fn on_time_out(step: Step) -> &'static str {
    match step {
        Step::Connection => {
            "; check the host and port of --smtp-url, and whether a firewall is between"
        }
        Step::Encryption => {
            "; check that the port of --smtp-url speaks TLS: smtps:// is 465, ?tls=required 587"
        }
        _ => "; the server is slow: see its log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_advice() {
        for (advice, word) in [
            (on_refusal(Step::Sender, 530), "wants a login"),
            (on_refusal(Step::Sender, 553), "--mail-from"),
            (on_refusal(Step::Sender, 451), ""),
            (on_refusal(Step::Login, 535), "password"),
            (on_refusal(Step::Login, 454), "just now"),
            (on_refusal(Step::Login, 538), "tls=required"),
            (on_refusal(Step::Connection, 554), "its operator"),
            (on_failure(Step::Mechanism), "neither PLAIN nor LOGIN"),
            (on_failure(Step::Login), "ended the conversation"),
            (on_time_out(Step::Connection), "firewall"),
            (on_time_out(Step::Login), "slow"),
        ] {
            assert!(advice.contains(word), "{word}: {advice}");
        }
        let lost = on_failure(Step::Login);
        assert!(!lost.contains("password"), "{lost}");
    }
}
