//! The byte stream of a connection: a TCP socket, or TLS over one.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A byte stream with the options of the socket under it.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Sends small writes without delay (`TCP_NODELAY`).
    fn set_nodelay(&self);

    /// Discards unacknowledged bytes when the stream is closed; otherwise the operating
    /// system keeps them for minutes.
    fn discard_unsent(&self);
}

impl ByteStream for TcpStream {
    fn set_nodelay(&self) {
        // The option only affects latency.
        let _ = Self::set_nodelay(self, true);
    }

    fn discard_unsent(&self) {
        let _ = self.set_zero_linger();
    }
}
