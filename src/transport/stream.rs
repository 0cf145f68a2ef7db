//! The byte stream of a connection: a TCP socket, or TLS over one.

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A byte stream with the options of the socket under it.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Has small writes sent at once.
    fn set_nodelay(&self);

    /// Has bytes discarded that the peer has not read when the stream is closed; the
    /// operating system would keep them for minutes.
    fn discard_unsent(&self);
}

impl ByteStream for TcpStream {
    fn set_nodelay(&self) {
        // A socket that refuses the option still works.
        let _ = Self::set_nodelay(self, true);
    }

    fn discard_unsent(&self) {
        let _ = self.set_zero_linger();
    }
}
