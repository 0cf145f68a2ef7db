//! Server reflection.

use tonic_reflection::server::{Builder, Error};

use super::services::Services;
use crate::proto;

/// Adds both versions of server reflection, which describe only these services.
pub(crate) fn add(
    services: Services,
    described: &[&str],
    max_message_size: usize,
) -> Result<Services, Error> {
    let v1 = builder(described, "grpc.reflection.v1.ServerReflection").build_v1()?;
    let v1alpha = builder(described, "grpc.reflection.v1alpha.ServerReflection").build_v1alpha()?;
    Ok(services
        .with(v1.max_decoding_message_size(max_message_size))
        .with(v1alpha.max_decoding_message_size(max_message_size)))
}

fn builder<'a>(described: &[&str], reflection: &str) -> Builder<'a> {
    let builder = Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Lets tools decode the details of an error.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET);
    let names = described.iter().chain([&reflection]);
    names.fold(builder, |builder, name| builder.with_service_name(*name))
}
