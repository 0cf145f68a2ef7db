//! The generated code of `proto/`, and its descriptors.

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
