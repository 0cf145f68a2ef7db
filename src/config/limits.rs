use std::time::Duration;

use clap::Args;

use super::values;

/// The default of `max-connections-per-wide-network`, as a multiple of
/// `max-connections-per-peer`.
const PEERS_PER_WIDE_NETWORK: usize = 4;

/// The default of `max-requests-per-connection`: more than a service that sends all its calls
/// over one channel has in progress. The requests of a connection hold at most this many times
/// `max-message-size` and `max-header-list-size`, 6 MiB with the defaults.
const REQUESTS_PER_CONNECTION: usize = 256;

/// The limits of the transport. The defaults keep one hostile machine from affecting the others.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Transport limits")]
pub struct LimitSettings {
    /// Longest duration of a unary call or a form, from its head to its reply
    #[arg(
        long,
        env = "BIENVENUE_REQUEST_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = values::duration
    )]
    pub request_timeout: Duration,

    /// Largest accepted gRPC message or form
    #[arg(
        long,
        env = "BIENVENUE_MAX_MESSAGE_SIZE",
        value_name = "SIZE",
        default_value = "16KiB",
        value_parser = values::bytes(4 * 1024..=1024 * 1024)
    )]
    pub max_message_size: usize,

    /// Largest accepted request head; over HTTP/1.1 at least 8KiB
    #[arg(
        long,
        env = "BIENVENUE_MAX_HEADER_LIST_SIZE",
        value_name = "SIZE",
        default_value = "8KiB",
        value_parser = values::bytes(1024..=1024 * 1024)
    )]
    pub max_header_list_size: usize,

    /// Number of connections open at once; beyond that, the one idle longest is closed
    /// for a new one, and an eighth is reserved for networks from which a call that
    /// needs an account has succeeded
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "10000",
        value_parser = values::number(1_usize..=1_000_000)
    )]
    pub max_connections: usize,

    /// Number of connections from one IPv4 address or one IPv6 /64 network; those of
    /// trusted-proxies count in max-connections alone
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONNECTIONS_PER_PEER",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = values::number(1_usize..=1_000_000)
    )]
    pub max_connections_per_peer: usize,

    /// Number of connections from one IPv6 /48 network; at least
    /// max-connections-per-peer [default: four times max-connections-per-peer]
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONNECTIONS_PER_WIDE_NETWORK",
        value_name = "NUMBER",
        value_parser = values::number(1_usize..=1_000_000)
    )]
    pub max_connections_per_wide_network: Option<usize>,

    /// Number of unary calls and forms in progress on a connection, from the head of
    /// the request to the last byte of the reply; further ones are told to retry
    /// later; at least max-concurrent-streams [default: 256, or
    /// max-concurrent-streams where that is more]
    #[arg(
        long,
        env = "BIENVENUE_MAX_REQUESTS_PER_CONNECTION",
        value_name = "NUMBER",
        value_parser = values::number(1_usize..=100_000)
    )]
    pub max_requests_per_connection: Option<usize>,

    /// Number of open HTTP/2 streams on a connection, announced to its client, which
    /// makes further calls wait; at most max-requests-per-connection
    /// [default: max-requests-per-connection]
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONCURRENT_STREAMS",
        value_name = "NUMBER",
        value_parser = values::number(1_u32..=100_000)
    )]
    pub max_concurrent_streams: Option<u32>,

    /// Number of HTTP/2 stream errors after which a connection is closed
    #[arg(
        long,
        env = "BIENVENUE_MAX_LOCAL_ERROR_RESET_STREAMS",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = values::number(1_usize..=100_000)
    )]
    pub max_local_error_reset_streams: usize,

    /// Longest silence at the start of a connection
    #[arg(
        long,
        env = "BIENVENUE_FIRST_BYTE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = values::duration
    )]
    pub first_byte_timeout: Duration,

    /// Longest time from the start of a connection until the server first answers: an
    /// HTTP/2 preface or HTTP/1.1 request has to be complete by then; and longest time
    /// from the first byte of a later HTTP/1.1 request to the end of its head
    #[arg(
        long,
        env = "BIENVENUE_HANDSHAKE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = values::duration
    )]
    pub handshake_timeout: Duration,

    /// Longest wait of an HTTP/1.1 connection for its next request; it should be longer
    /// than the idle timeout of the proxy or client, since a request sent while the
    /// connection is closed is lost. HTTP/2 connections stay open as long as their
    /// pings are answered
    #[arg(
        long,
        env = "BIENVENUE_IDLE_TIMEOUT",
        value_name = "DURATION",
        default_value = "150s",
        value_parser = values::duration
    )]
    pub idle_timeout: Duration,

    /// Longest wait for a peer to read a reply, before the connection is asked to close
    /// and then, after max-connection-age-grace, cut
    #[arg(
        long,
        env = "BIENVENUE_SEND_TIMEOUT",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = values::duration
    )]
    pub send_timeout: Duration,

    /// Number of bytes of large replies (lists and batches) waiting to be sent on one
    /// connection; calls beyond that are told to retry later
    #[arg(
        long,
        env = "BIENVENUE_MAX_UNSENT_PER_CONNECTION",
        value_name = "SIZE",
        default_value = "1MiB",
        value_parser = values::bytes(256 * 1024..=1024 * 1024 * 1024)
    )]
    pub max_unsent_per_connection: usize,

    /// The same for all connections together; when three quarters are in use, slow
    /// readers are cut well before send-timeout
    #[arg(
        long,
        env = "BIENVENUE_MAX_UNSENT",
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = values::bytes(1024 * 1024..=64 * 1024 * 1024 * 1024)
    )]
    pub max_unsent: usize,

    /// Interval of keepalive pings to an HTTP/2 peer
    #[arg(
        long,
        env = "BIENVENUE_KEEPALIVE_INTERVAL",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = values::duration
    )]
    pub keepalive_interval: Duration,

    /// Longest wait for the answer to a keepalive ping
    #[arg(
        long,
        env = "BIENVENUE_KEEPALIVE_TIMEOUT",
        value_name = "DURATION",
        default_value = "5s",
        value_parser = values::duration
    )]
    pub keepalive_timeout: Duration,

    /// Age at which a connection is asked to close after its requests
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONNECTION_AGE",
        value_name = "DURATION",
        default_value = "30m",
        value_parser = values::duration
    )]
    pub max_connection_age: Duration,

    /// Time after that age in which a connection may finish its requests before it is
    /// cut
    #[arg(
        long,
        env = "BIENVENUE_MAX_CONNECTION_AGE_GRACE",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = values::duration
    )]
    pub max_connection_age_grace: Duration,
}

impl LimitSettings {
    /// The limit on connections from one IPv6 /48 network.
    pub fn max_connections_per_wide_network(&self) -> usize {
        self.max_connections_per_wide_network
            .unwrap_or(self.max_connections_per_peer * PEERS_PER_WIDE_NETWORK)
    }

    /// The number of requests in progress on a connection: at least the announced number of
    /// streams.
    pub fn max_requests_per_connection(&self) -> usize {
        self.max_requests_per_connection.unwrap_or_else(|| {
            let announced = self.max_concurrent_streams.unwrap_or_default() as usize;
            REQUESTS_PER_CONNECTION.max(announced)
        })
    }

    /// The number of HTTP/2 streams announced to a client.
    pub fn max_concurrent_streams(&self) -> u32 {
        self.max_concurrent_streams.unwrap_or_else(|| {
            u32::try_from(self.max_requests_per_connection()).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if self.max_concurrent_streams() as usize > self.max_requests_per_connection() {
            return Err(
                "--max-concurrent-streams is more than --max-requests-per-connection: write at \
                 most as much, or leave one of them out, since clients open as many streams as \
                 are announced, and calls beyond the other limit are refused"
                    .to_owned(),
            );
        }
        if self.max_connections_per_wide_network() < self.max_connections_per_peer {
            return Err(
                "--max-connections-per-wide-network is less than --max-connections-per-peer: \
                 write at least as much, since it includes the peer's network"
                    .to_owned(),
            );
        }
        if self.max_unsent < self.max_unsent_per_connection {
            return Err(
                "--max-unsent is less than --max-unsent-per-connection: write at least as much, \
                 since it is for all connections together"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The defaults of the flags.
#[cfg(test)]
impl Default for LimitSettings {
    fn default() -> Self {
        use clap::{Command, FromArgMatches as _};

        let command = LimitSettings::augment_args(Command::new("defaults"));
        let matches = command.get_matches_from(["defaults"]);
        LimitSettings::from_arg_matches(&matches).expect("the defaults are values")
    }
}
