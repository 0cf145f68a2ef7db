//! A stream that limits the replies of a server.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, BufReader, ReadBuf};

/// The most bytes read in reply to one command: enough for the certificates of a handshake, and a
/// bound for a line without an end.
const MAX_BYTES: usize = 32 * 1024;

/// The most lines read in reply to one command: the library parses the reply again with each.
const MAX_LINES: usize = 500;

/// A stream whose reads return at most one line each, and a limited number of bytes and lines.
///
/// Reading by the line ensures that bytes sent before the start of TLS are not left in the
/// library's buffer and treated as if they had been sent through TLS
/// (<https://nostarttls.secvuln.info>): here the handshake reads them, and fails.
pub(super) struct GuardedStream<S> {
    stream: BufReader<S>,
    peer: SocketAddr,
    bytes_left: usize,
    lines_left: usize,
}

impl<S: AsyncRead> GuardedStream<S> {
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self {
            stream: BufReader::new(stream),
            peer,
            bytes_left: MAX_BYTES,
            lines_left: MAX_LINES,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut stream = Pin::new(&mut this.stream);
        let there = ready!(stream.as_mut().poll_fill_buf(context))?;
        let (line, ends) = match there.iter().position(|byte| *byte == b'\n') {
            Some(end) => (end + 1, 1),
            None => (there.len(), 0),
        };
        let taken = line.min(out.remaining());
        match (
            this.bytes_left.checked_sub(taken),
            this.lines_left.checked_sub(ends),
        ) {
            (Some(bytes), Some(lines)) => (this.bytes_left, this.lines_left) = (bytes, lines),
            _ => return Poll::Ready(Err(io::Error::other("its reply is too long"))),
        }
        out.put_slice(&there[..taken]);
        stream.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        (self.bytes_left, self.lines_left) = (MAX_BYTES, MAX_LINES);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> fmt::Debug for GuardedStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedStream({})", self.peer)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for GuardedStream<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn guarded(text: &str) -> GuardedStream<&[u8]> {
        GuardedStream::new(text.as_bytes(), ([127, 0, 0, 1], 25).into())
    }

    #[tokio::test]
    async fn a_read_is_one_line_at_most() {
        let mut stream = guarded("220 go on\r\n250 injected\r\nhalf");
        let mut buffer = [0; 100];
        for line in ["220 go on\r\n", "250 injected\r\n", "half", ""] {
            let length = stream.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], line.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_reply_is_limited() {
        for (text, is_fine) in [
            ("250-\r\n".repeat(MAX_LINES), true),
            ("250-\r\n".repeat(MAX_LINES + 1), false),
            ("2".repeat(MAX_BYTES), true),
            ("2".repeat(MAX_BYTES + 1), false),
        ] {
            let read = guarded(&text).read_to_end(&mut Vec::new()).await;
            assert_eq!(read.is_ok(), is_fine, "{read:?}");
        }
    }
}
