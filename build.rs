//! Compiles `proto/` without a `protoc` on the machine, and keeps the
//! descriptors, with their comments, for server reflection.

use std::{env, error::Error, fmt::Write as _, fs, path::PathBuf};

use prost::Message as _;

/// A message with one of these fields has a `Debug` that tells its name and no
/// more.
const SECRET_FIELDS: [&str; 6] = [
    "password",
    "current_password",
    "new_password",
    "session_id",
    "session_ids",
    "reset_token",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let descriptors = protox::compile(
        [
            "bienvenue/v1/admin_service.proto",
            "bienvenue/v1/auth_service.proto",
        ],
        ["proto"],
    )?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut builder =
        tonic_prost_build::configure().codec_path("crate::proto::codec::CompactCodec");
    let mut debug = String::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            let has_secret = message
                .field
                .iter()
                .any(|field| SECRET_FIELDS.contains(&field.name()));
            if has_secret {
                builder = builder.skip_debug([format!("{}.{}", file.package(), message.name())]);
                writeln!(debug, "without_content!({});", message.name())?;
            }
        }
    }
    fs::write(out_dir.join("debug.rs"), debug)?;
    builder.compile_fds(descriptors)?;
    Ok(())
}
