//! Advice on a mail server that does not accept a mail, by the cause.

use super::error::Step;

/// The reply codes about the login, which a server may send to any command (RFC 4954, 6): the
/// settings are wrong, not the message.
pub(super) const LOGIN_CODES: [u16; 4] = [530, 534, 535, 538];

const CREDENTIALS: &str = "; check the user and the password of --smtp-url";

/// Advice on a refused step, after a semicolon.
pub(super) fn on_refusal(step: Step, code: u16) -> &'static str {
    match (step, code) {
        (_, 530) => {
            "; the server requires a login, or TLS, first: write a user and a password into \
             --smtp-url, and smtps:// or ?tls=required"
        }
        (_, 534) => {
            "; the server requires another way to log in: create an application password there, and \
             write that into --smtp-url"
        }
        (_, 535) => CREDENTIALS,
        (_, 538) => {
            "; the server accepts a login under TLS only: write ?tls=required in --smtp-url"
        }
        (Step::Connection, _) => {
            "; the server accepts no mail from this machine, for now or permanently: ask its \
             operator for the reason"
        }
        (Step::Encryption, _) => "; the server cannot start TLS at present: see its log",
        (Step::Login, 400..=499) => "; the server cannot check passwords at present",
        (Step::Mechanism | Step::Login, _) => CREDENTIALS,
        (Step::Sender, 500..) => "; set --mail-from to an address that the server sends for",
        (Step::Sender | Step::Recipient | Step::Message, _) => "",
    }
}

/// Advice on a step at which the server could not be reached, was not trusted, or did not speak
/// SMTP.
pub(super) fn on_failure(step: Step) -> &'static str {
    match step {
        Step::Connection => "; check the host and port of --smtp-url, and the server",
        Step::Encryption => {
            "; check the scheme and port of --smtp-url, and the server's certificate: it has to \
             name that host, and its authority has to be trusted by this machine (the package \
             ca-certificates, or a file named by SSL_CERT_FILE)"
        }
        Step::Mechanism => {
            "; it accepts neither PLAIN nor LOGIN here: write ?tls=required in --smtp-url if it \
             accepts them under TLS only, or use a server with logins by password"
        }
        Step::Login | Step::Sender | Step::Recipient | Step::Message => {
            "; the server has closed the connection: see its log"
        }
    }
}

/// Advice on a step that the server did not complete in time.
pub(super) fn on_time_out(step: Step) -> &'static str {
    match step {
        Step::Connection => {
            "; check the host and port of --smtp-url, and whether a firewall is in between"
        }
        Step::Encryption => {
            "; check that the port of --smtp-url uses TLS: smtps:// is 465, ?tls=required 587"
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
            (on_refusal(Step::Sender, 530), "requires a login"),
            (on_refusal(Step::Sender, 553), "--mail-from"),
            (on_refusal(Step::Sender, 451), ""),
            (on_refusal(Step::Login, 535), "password"),
            (on_refusal(Step::Login, 454), "at present"),
            (on_refusal(Step::Login, 538), "tls=required"),
            (on_refusal(Step::Connection, 554), "operator"),
            (on_failure(Step::Mechanism), "neither PLAIN nor LOGIN"),
            (on_failure(Step::Login), "closed the connection"),
            (on_time_out(Step::Connection), "firewall"),
            (on_time_out(Step::Login), "slow"),
        ] {
            assert!(advice.contains(word), "{word}: {advice}");
        }
        let lost = on_failure(Step::Login);
        assert!(!lost.contains("password"), "{lost}");
    }
}
