//! The code generated from `proto/`, its descriptors, and the table of its methods.

pub mod codec;

/// Package `bienvenue.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "generated code"
    )]

    tonic::include_proto!("bienvenue.v1");

    /// Implements `Debug` for a message with a secret field: it prints the name alone.
    macro_rules! redacted_debug {
        ($message:ident) => {
            impl std::fmt::Debug for $message {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str(concat!(stringify!($message), "(…)"))
                }
            }
        };
    }

    include!(concat!(env!("OUT_DIR"), "/debug.rs"));
}

/// The encoded `FileDescriptorSet` of `proto/`, with comments and options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A method of a service in `proto/`, with the properties that follow from its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The full name of its service, such as `bienvenue.v1.AuthService`.
    pub service: &'static str,
    /// Its name, such as `Login`.
    pub name: &'static str,
    /// The path of its requests, such as `/bienvenue.v1.AuthService/Login`.
    pub path: &'static str,
    /// Whether it changes nothing but the time of a session's last use, by its standard name:
    /// Get, List or BatchGet.
    pub is_read_only: bool,
    /// Whether it succeeds only for callers with an account: its request or reply has a
    /// `session_id`.
    pub proves_account: bool,
}

/// Every method of every service in `proto/`, in the order of their declaration.
pub const METHODS: &[Method] = &include!(concat!(env!("OUT_DIR"), "/methods.rs"));

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, FieldDescriptor, Value};

    use super::*;

    /// Names of fields that hold a secret, or may.
    const SECRET_WORDS: [&str; 5] = ["password", "token", "session_id", "secret", "code"];

    /// Positions in a list (AIP-158), which prove nothing.
    const NOT_SECRET: [&str; 2] = ["page_token", "next_page_token"];

    fn pool() -> DescriptorPool {
        DescriptorPool::decode(DESCRIPTORS).unwrap()
    }

    fn is_redacted(field: &FieldDescriptor) -> bool {
        let options = field.options();
        let redacted = options.get_field_by_name("debug_redact");
        redacted.is_some_and(|value| *value == Value::Bool(true))
    }

    #[test]
    fn messages_with_a_secret_do_not_show_it() {
        let request = v1::LoginRequest {
            email: "ada@example.com".into(),
            password: "correct horse battery".into(),
        };
        assert_eq!(format!("{request:?}"), "LoginRequest(…)");
        let response = v1::LoginResponse {
            session_id: "sess_secret".into(),
            ..Default::default()
        };
        assert_eq!(format!("{response:?}"), "LoginResponse(…)");
    }

    #[test]
    fn every_field_with_the_name_of_a_secret_is_redacted() {
        let messages: Vec<_> = pool()
            .all_messages()
            .filter(|message| message.package_name() == "bienvenue.v1")
            .collect();
        assert!(messages.len() > 20, "{} messages", messages.len());
        let mut redacted = 0;
        for field in messages.iter().flat_map(|message| message.fields()) {
            let name = field.name();
            let is_secret =
                SECRET_WORDS.iter().any(|word| name.contains(word)) && !NOT_SECRET.contains(&name);
            assert_eq!(is_redacted(&field), is_secret, "{}", field.full_name());
            redacted += usize::from(is_secret);
        }
        assert!(redacted >= 10, "{redacted} fields are redacted");
    }

    #[test]
    fn every_method_has_a_comment() {
        for service in pool().services() {
            let file = service.parent_file();
            let locations = &file.file_descriptor_proto().source_code_info;
            let locations = &locations.as_ref().expect("source info").location;
            for method in service.methods() {
                let location = locations.iter().find(|found| found.path == method.path());
                let comment = location.and_then(|found| found.leading_comments.as_deref());
                let is_documented = comment.is_some_and(|text| !text.trim().is_empty());
                assert!(is_documented, "{}", method.full_name());
            }
        }
    }

    #[test]
    fn properties_follow_from_the_descriptors() {
        let method = |name| {
            let mut methods = METHODS.iter().filter(|method| method.name == name);
            let method = methods.next().unwrap();
            (method.is_read_only, method.proves_account)
        };
        assert_eq!(method("GetUserBySession"), (true, true));
        assert_eq!(method("BatchGetUserBySession"), (true, false));
        assert_eq!(method("Login"), (false, true));
        assert_eq!(method("Register"), (false, false));
        assert_eq!(method("WatchRevocations"), (false, false));
    }
}
