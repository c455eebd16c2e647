//! Streams to and from publishers: TCP and Unix sockets, dialled or accepted.
//!
//! Every TCP stream has keepalive on: a peer that vanished without a word is found after about 20 s even if it
//! knows no PING.

use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::bus::Transport;

/// Addresses of one name that are tried.
const ADDRESSES_LEN_MAX: usize = 8;
/// For a name to be looked up.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// Quiet before the first keepalive probe.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
/// Between probes; three unanswered end the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// A byte stream to a peer.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects; names are looked up anew, their addresses tried in order, `deadline` for each.
pub async fn dial(transport: &Transport, deadline: Duration) -> io::Result<Box<dyn Stream>> {
    match transport {
        Transport::Tcp { host, port } => Ok(Box::new(dial_tcp(host, *port, deadline).await?)),
        Transport::Ipc { path } => Ok(Box::new(within(deadline, UnixStream::connect(path)).await?)),
    }
}

async fn dial_tcp(host: &str, port: u16, deadline: Duration) -> io::Result<TcpStream> {
    let addresses = within(LOOKUP_DEADLINE, tokio::net::lookup_host((host, port))).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.take(ADDRESSES_LEN_MAX) {
        match within(deadline, TcpStream::connect(address)).await {
            // A port of our own range may connect to itself while nobody listens on it.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                last = io::Error::new(io::ErrorKind::ConnectionRefused, "connected to itself");
            }
            Ok(stream) => {
                keep_alive(&stream)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn within<T>(deadline: Duration, future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(deadline, future).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {deadline:?}"))),
    }
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// A bound address.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix socket.
    Ipc(UnixListener),
}

impl Listener {
    /// Binds. A socket file that nobody listens on any more is replaced.
    pub async fn bind(transport: &Transport) -> io::Result<Self> {
        match transport {
            Transport::Tcp { host, port } => Ok(Self::Tcp(TcpListener::bind((host.as_str(), *port)).await?)),
            Transport::Ipc { path } => {
                remove_stale_socket(path).await?;
                Ok(Self::Ipc(UnixListener::bind(path)?))
            }
        }
    }

    /// The next peer.
    pub async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                keep_alive(&stream)?;
                Ok(Box::new(stream))
            }
            Self::Ipc(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }

    /// The address bound, as others would write it to connect.
    pub fn local_address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| "tcp://?".to_owned(), |address| format!("tcp://{address}"))
            }
            Self::Ipc(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(|| "ipc://?".to_owned(), |path| format!("ipc://{}", path.display()))
            }
        }
    }
}

async fn remove_stale_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        _ => return Ok(()),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        _ => Ok(()),
    }
}
