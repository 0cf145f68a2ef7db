//! The generated code of `proto/`, and its descriptors.

use std::fmt;

/// Package `bienvenue.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::allow_attributes_without_reason,
        reason = "the generated code answers to its generator"
    )]
    tonic::include_proto!("bienvenue.v1");
}

/// The encoded `FileDescriptorSet` of `proto/`, comments included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The messages that carry a password or a `session_id` tell their name and no
/// more; `build.rs` keeps prost from deriving what would tell all.
macro_rules! without_content {
    ($($message:ident)*) => {$(
        impl fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(…)"))
            }
        }
    )*};
}

without_content! {
    RegisterRequest
    LoginRequest
    LoginResponse
    GetUserBySessionRequest
    LogoutRequest
}
