use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};

use super::values;

/// Where it listens and to whom it answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Network")]
pub struct NetworkSettings {
    /// Address and port for gRPC, gRPC-Web and HTTP; port 0 picks a free one
    #[arg(
        long,
        env = "BIENVENUE_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:50051",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// Whether clients may ask which methods there are; auto is on for a
    /// loopback address and off elsewhere
    #[arg(
        long,
        env = "BIENVENUE_REFLECTION",
        value_name = "WHEN",
        default_value = "auto",
        value_enum
    )]
    pub reflection: Reflection,

    /// Web origin (scheme, host, port) whose pages may call through gRPC-Web,
    /// compared exactly; repeat the flag, or separate by commas, for several
    /// [default: none]
    #[arg(
        long,
        env = "BIENVENUE_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origin: Vec<String>,

    /// How long requests that are under way may go on after SIGTERM or SIGINT
    #[arg(
        long,
        env = "BIENVENUE_SHUTDOWN_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = values::duration
    )]
    pub shutdown_timeout: Duration,
}

/// When server reflection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reflection {
    /// On a loopback address only.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl NetworkSettings {
    /// Whether to serve reflection.
    pub fn reflects(&self) -> bool {
        match self.reflection {
            Reflection::Auto => self.listen.ip().is_loopback(),
            Reflection::On => true,
            Reflection::Off => false,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    // A name would have to be looked up; localhost alone is plain enough.
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric
        .parse()
        .map_err(|_| "write IP:PORT, such as 127.0.0.1:50051 or [::1]:50051".to_owned())
}

/// An origin as browsers send it: scheme, host, port where it is not the
/// scheme's own; no path and no wildcard.
fn origin(text: &str) -> Result<String, String> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .unwrap_or_default();
    let sane = !host.is_empty()
        && text == text.to_ascii_lowercase()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    if sane {
        Ok(text.to_owned())
    } else {
        Err(
            "write an origin as browsers send it, such as https://app.example.com: lower case, \
             no path, no *"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_origins() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:1").is_ok());
        assert_eq!(address("localhost:5"), address("127.0.0.1:5"));
        for wrong in ["", "50051", ":50051", "example.com:1", "127.0.0.1"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        for right in ["https://app.example.com", "http://localhost:3000"] {
            assert!(origin(right).is_ok(), "{right}");
        }
        for wrong in [
            "*",
            "null",
            "app.example.com",
            "https://",
            "https://a.b/",
            "https://A.b",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
