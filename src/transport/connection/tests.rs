use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::{
    peer::{ReplyMemory, Traffic},
    transport::connection_limits::ConnectionLimits,
};

/// An in-memory byte stream, which records the options set on it.
struct MemoryStream {
    stream: DuplexStream,
    options: Arc<Mutex<Vec<&'static str>>>,
}

impl ByteStream for MemoryStream {
    fn set_nodelay(&self) {
        self.options.lock().unwrap().push("nodelay");
    }

    fn discard_unsent(&self) {
        self.options.lock().unwrap().push("discard unsent");
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

struct Pair {
    connection: Connection<MemoryStream>,
    peer: DuplexStream,
    options: Arc<Mutex<Vec<&'static str>>>,
}

fn connect(limits: &LimitSettings) -> Pair {
    let (stream, peer) = duplex(64);
    let options = Arc::<Mutex<Vec<_>>>::default();
    let stream = MemoryStream {
        stream,
        options: Arc::clone(&options),
    };
    let connection_limits = Arc::new(ConnectionLimits::new(1, limits));
    let traffic = Traffic::new(1, &ReplyMemory::default(), connection_limits.clock());
    let address = "192.0.2.1:4711".parse().unwrap();
    let admitted = connection_limits.acquire("192.0.2.1".parse().unwrap(), &traffic);
    let connection = Connection::new(
        stream,
        Peer::new(address, traffic),
        Timeouts::new(limits),
        &Arc::default(),
        admitted.unwrap().permit,
    );
    Pair {
        connection,
        peer,
        options,
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_over_any_stream() {
    let Pair {
        mut connection,
        mut peer,
        options,
    } = connect(&LimitSettings::default());
    let mut buffer = [0; 4];
    peer.write_all(b"ping").await.unwrap();
    connection.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"ping");
    connection.write_all(b"pong").await.unwrap();
    peer.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"pong");
    drop(connection);
    assert_eq!(peer.read(&mut buffer).await.unwrap(), 0);
    assert_eq!(*options.lock().unwrap(), ["nodelay"]);
}

#[tokio::test]
async fn a_connection_without_a_first_byte_times_out() {
    let limits = LimitSettings {
        first_byte_timeout: Duration::from_millis(20),
        ..LimitSettings::default()
    };
    let start = Instant::now();
    let Pair {
        mut connection,
        mut peer,
        options,
    } = connect(&limits);
    let error = connection.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= limits.first_byte_timeout);
    drop(connection);
    assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(*options.lock().unwrap(), ["nodelay", "discard unsent"]);
}

#[tokio::test]
async fn a_first_byte_ends_the_first_byte_timeout() {
    let limits = LimitSettings {
        first_byte_timeout: Duration::from_millis(20),
        ..LimitSettings::default()
    };
    let Pair {
        mut connection,
        mut peer,
        ..
    } = connect(&limits);
    peer.write_all(b"P").await.unwrap();
    assert_eq!(connection.read_u8().await.unwrap(), b'P');
    let read = tokio::time::timeout(Duration::from_millis(60), connection.read_u8()).await;
    assert!(read.is_err(), "the handshake timeout is longer");
}
