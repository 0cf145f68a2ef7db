//! The greeting of a started server.

use std::net::SocketAddr;

use crate::{config::Config, db::DatabaseUrl};

/// The lines that `bienvenue` prints once it listens.
pub fn greeting(config: &Config, address: SocketAddr, admin: Option<SocketAddr>) -> String {
    let mut text = format!(
        "bienvenue {} listens on {address} (gRPC, gRPC-Web, HTTP); its data is {}\n",
        env!("CARGO_PKG_VERSION"),
        match &config.database.database_url {
            DatabaseUrl::Sqlite(path) => format!("in {path}"),
            DatabaseUrl::Postgres(_) => "in PostgreSQL".to_owned(),
        },
    );
    if let Some(admin) = admin {
        text.push_str(&format!(
            "The internal listener is on {admin} (gRPC, with the token)\n"
        ));
    }
    if config.network.reflects(config.network.listen) {
        text.push_str(&format!(
            "\nTry it:\n  \
             curl http://{address}/\n  \
             grpcurl -plaintext -d '{{\"email\":\"ada@example.com\",\"password\":\"correct horse \
             battery\"}}' {address} bienvenue.v1.AuthService/Register\n\n\
             All settings: bienvenue --help. Stop with Ctrl-C.\n"
        ));
    }
    text
}
