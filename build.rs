//! Compiles `proto/` without `protoc`, keeps the descriptors with their comments for server
//! reflection, and derives from them the secret fields and the properties of methods.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use protox::{
    Compiler,
    prost_reflect::{DescriptorPool, FieldDescriptor, MethodDescriptor, Value},
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files([
            "bienvenue/v1/admin_service.proto",
            "bienvenue/v1/auth_service.proto",
        ])?;
    let pool = compiler.descriptor_pool();
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out_dir.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    fs::write(out_dir.join("methods.rs"), methods(&pool)?)?;

    let mut builder =
        tonic_prost_build::configure().codec_path("crate::proto::codec::CompactCodec");
    let mut debug = String::new();
    for message in pool.all_messages() {
        if !message.fields().any(|field| is_redacted(&field)) {
            continue;
        }
        if message.parent_message().is_some() {
            let name = message.full_name();
            return Err(format!("{name} has a secret field: declare it at the top level").into());
        }
        builder = builder.skip_debug([message.full_name()]);
        writeln!(debug, "redacted_debug!({});", message.name())?;
    }
    fs::write(out_dir.join("debug.rs"), debug)?;
    builder.compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// The table of all methods, as the initializer of an array.
fn methods(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut table = "[\n".to_owned();
    for service in pool.services() {
        for method in service.methods() {
            let (service, name) = (service.full_name(), method.name());
            writeln!(
                table,
                "Method {{ service: {service:?}, name: {name:?}, path: {:?}, is_read_only: {}, \
                 proves_account: {} }},",
                format!("/{service}/{name}"),
                is_read_only(&method),
                proves_account(&method),
            )?;
        }
    }
    table.push_str("]\n");
    Ok(table)
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    let options = field.options();
    let redacted = options.get_field_by_name("debug_redact");
    redacted.is_some_and(|value| *value == Value::Bool(true))
}

/// Whether a method changes nothing but the time of a session's last use, by its standard
/// name (AIP-131, AIP-132, AIP-231).
fn is_read_only(method: &MethodDescriptor) -> bool {
    ["Get", "List", "BatchGet"]
        .iter()
        .any(|verb| method.name().starts_with(verb))
}

/// Whether a method succeeds only for callers with an account: it takes a session, or opens
/// one.
fn proves_account(method: &MethodDescriptor) -> bool {
    [method.input(), method.output()]
        .iter()
        .any(|message| message.get_field_by_name("session_id").is_some())
}
