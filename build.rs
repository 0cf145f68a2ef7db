//! Compiles `proto/` without a `protoc` on the machine, and keeps the
//! descriptors, with their comments, for server reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    let descriptors = protox::compile(["bienvenue/v1/auth_service.proto"], ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        // These carry a password or a session_id: no Debug, no leak.
        .skip_debug([
            "bienvenue.v1.RegisterRequest",
            "bienvenue.v1.LoginRequest",
            "bienvenue.v1.LoginResponse",
            "bienvenue.v1.GetUserBySessionRequest",
            "bienvenue.v1.LogoutRequest",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
