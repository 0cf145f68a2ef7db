//! The generated code of `proto/`, and its descriptors.

pub mod codec;

/// Package `bienvenue.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "the generated code answers to its generator"
    )]

    tonic::include_proto!("bienvenue.v1");

    /// A `Debug` for a message with a secret: its name and no more.
    macro_rules! without_content {
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

/// The encoded `FileDescriptorSet` of `proto/`, comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

#[cfg(test)]
mod tests {
    use super::*;

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
}
