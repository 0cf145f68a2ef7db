//! Telling callers which methods there are.

use tonic_reflection::server::{Builder, Error};

use super::services::Services;
use crate::proto;

/// Adds both versions of server reflection, which show these services and no others.
pub(crate) fn add(
    services: Services,
    shown: &[&str],
    max_message_size: usize,
) -> Result<Services, Error> {
    let v1 = builder(shown, "grpc.reflection.v1.ServerReflection").build_v1()?;
    let v1alpha = builder(shown, "grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?;
    Ok(services
        .with(v1.max_decoding_message_size(max_message_size))
        .with(v1alpha.max_decoding_message_size(max_message_size)))
}

fn builder<'a>(shown: &[&str], itself: &str) -> Builder<'a> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that tools can show the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    let names = shown.iter().chain([&itself]);
    names.fold(builder, |builder, name| builder.with_service_name(*name))
}
