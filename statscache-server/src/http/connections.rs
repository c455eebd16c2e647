//! A listener that keeps at most so many connections open: beyond them, clients wait in the
//! system's queue instead of taking memory. A connection on which nothing moves is closed, so that
//! idle ones cannot keep the others out.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// Longer than dashboards leave between two polls.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(75);

pub(super) struct LimitedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    idle_max: Duration,
}

impl LimitedListener {
    pub(super) fn new(listener: TcpListener, connections_max: usize, idle_max: Duration) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(connections_max)), idle_max }
    }
}

impl Listener for LimitedListener {
    type Io = Connection;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Connection, Self::Addr) {
        // The semaphore is never closed.
        let permit = self.permits.clone().acquire_owned().await.ok();
        // axum's own accept logs errors and waits a moment before it goes on.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, "no TCP_NODELAY: {error}");
        }
        let idle = Box::pin(sleep(self.idle_max));
        (
            Connection {
                stream,
                moved: Instant::now(),
                is_reading: false,
                idle,
                idle_max: self.idle_max,
                _permit: permit,
            },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection; dropped, it makes room for another.
pub(super) struct Connection {
    stream: TcpStream,
    /// When something was written last, or the first of what came after it read: who sends a byte now and then does not
    /// keep a connection for himself.
    moved: Instant,
    /// Whether something was read since something was written.
    is_reading: bool,
    /// When it may have been idle for too long.
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Passes on what the stream said; where something moved, it is not idle, and where nothing
    /// does for too long, that is an error.
    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>, is_read: bool) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(done) => {
                // To move the timer as well would take a lock, for each request twice.
                if !(is_read && self.is_reading) {
                    self.moved = Instant::now();
                }
                self.is_reading = is_read;
                Poll::Ready(done)
            }
            Poll::Pending => loop {
                if self.idle.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let until = self.moved + self.idle_max;
                if until <= Instant::now() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                self.idle.as_mut().reset(until);
            },
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.watch(cx, polled, true)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch(cx, polled, false)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch(cx, polled, false)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn pair(idle_max: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (connection, _) = LimitedListener::new(listener, 1, idle_max).accept().await;
        (connection, client)
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_left() {
        let (mut connection, _client) = pair(Duration::from_millis(50)).await;
        let error = connection.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_reads_nothing_is_left() {
        let (mut connection, _client) = pair(Duration::from_millis(50)).await;
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_whose_question_never_ends_is_left() {
        let idle_max = Duration::from_millis(300);
        let (mut connection, mut client) = pair(idle_max).await;
        let dripping = async {
            let mut ticks = tokio::time::interval(idle_max / 10);
            while client.write_u8(b'x').await.is_ok() {
                ticks.tick().await;
            }
        };
        let reading = async { while connection.read_u8().await.is_ok() {} };
        tokio::select! {
            () = dripping => {}
            () = reading => {}
        }
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_that_goes_on_is_not() {
        let idle_max = Duration::from_millis(300);
        let (mut connection, mut client) = pair(idle_max).await;
        let began = Instant::now();
        while began.elapsed() < 3 * idle_max {
            client.write_u8(1).await.unwrap();
            assert_eq!(connection.read_u8().await.unwrap(), 1);
            connection.write_u8(2).await.unwrap();
            // Until now nothing has looked at the timer.
            let nothing = tokio::time::timeout(idle_max / 10, connection.read_u8()).await;
            assert!(nothing.is_err(), "there is nothing to read, and it is too early to leave");
        }
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
