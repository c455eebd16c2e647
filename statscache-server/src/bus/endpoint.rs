//! Endpoint addresses as operators write them: `tcp://host:port`, `tcp://[::1]:port`, `ipc:///path`, to connect to
//! or to bind. Parsing only; names are looked up at every attempt, by whoever connects.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::EndpointState;

/// Longest Unix socket path on Linux, without the terminating NUL.
const IPC_PATH_LEN_MAX: usize = 107;

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EndpointMode {
    /// The publisher does; we connect to it. The usual case.
    #[default]
    Connect,
    /// We do; publishers connect to us, as they do to a relay.
    Bind,
}

impl EndpointMode {
    /// What an endpoint is doing when its last publisher has left.
    pub(super) fn state_without_peers(self) -> EndpointState {
        match self {
            Self::Connect => EndpointState::Waiting,
            Self::Bind => EndpointState::Listening,
        }
    }
}

/// The address itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP over IPv4 or IPv6. The host is a name or an address, without brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// 0 only where bound: any free port.
        port: u16,
    },
    /// A Unix domain socket.
    Ipc {
        /// Its path.
        path: PathBuf,
    },
}

/// Where to listen, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub transport: Transport,
    /// Who listens.
    pub mode: EndpointMode,
}

/// Why an address was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint {address:?}: {reason}; write tcp://host:port, tcp://[ipv6]:port or ipc:///path")]
pub struct EndpointError {
    address: String,
    reason: &'static str,
}

impl Endpoint {
    /// Reads an address. `*` as host means 127.0.0.1 to connect to (as in fedmsg) and 0.0.0.0 to bind;
    /// `*` as port, any free port, only to bind.
    pub fn parse(address: &str, mode: EndpointMode) -> Result<Self, EndpointError> {
        let error = |reason| EndpointError { address: address.to_owned(), reason };
        let trimmed = address.trim();
        let transport = if let Some(rest) = trimmed.strip_prefix("tcp://") {
            parse_tcp(rest, mode).map_err(error)?
        } else if let Some(path) = trimmed.strip_prefix("ipc://") {
            parse_ipc(path).map_err(error)?
        } else if trimmed.contains("://") {
            return Err(error("only tcp and ipc are spoken here"));
        } else {
            return Err(error("the transport is missing"));
        };
        Ok(Self { transport, mode })
    }

    /// The address without the mode, in the form that ZeroMQ libraries read.
    pub fn address(&self) -> String {
        match &self.transport {
            Transport::Tcp { host, port } if host.contains(':') => format!("tcp://[{host}]:{port}"),
            Transport::Tcp { host, port } => format!("tcp://{host}:{port}"),
            Transport::Ipc { path } => format!("ipc://{}", path.display()),
        }
    }
}

/// An address to connect to, or one to bind after the word `bind`: the reverse of `Display`.
impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.trim().strip_prefix("bind ") {
            Some(address) => Self::parse(address, EndpointMode::Bind),
            None => Self::parse(text, EndpointMode::Connect),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            EndpointMode::Connect => f.write_str(&self.address()),
            EndpointMode::Bind => write!(f, "bind {}", self.address()),
        }
    }
}

fn parse_tcp(rest: &str, mode: EndpointMode) -> Result<Transport, &'static str> {
    let (host, port) = rest.rsplit_once(':').ok_or("the port is missing")?;
    let port = match (port, mode) {
        ("*", EndpointMode::Bind) => 0,
        ("*", EndpointMode::Connect) => return Err("`*` as port is only for binding"),
        _ if !port.bytes().all(|byte| byte.is_ascii_digit()) => return Err("the port is not a number"),
        _ => port.parse().map_err(|_| "the port is not between 0 and 65535")?,
    };
    if port == 0 && mode == EndpointMode::Connect {
        return Err("port 0 is only for binding");
    }
    let host = match host.strip_prefix('[') {
        Some(inner) => {
            let inner = inner.strip_suffix(']').ok_or("the bracket is not closed")?;
            let address = inner.split_once('%').map_or(inner, |(address, _scope)| address);
            address.parse::<std::net::Ipv6Addr>().map_err(|_| "what is in brackets is not an IPv6 address")?;
            inner
        }
        None => parse_host(host, mode)?,
    };
    Ok(Transport::Tcp { host: host.to_owned(), port })
}

fn parse_host(host: &str, mode: EndpointMode) -> Result<&str, &'static str> {
    match host {
        "" => Err("the host is missing"),
        "*" if mode == EndpointMode::Connect => Ok("127.0.0.1"),
        "*" => Ok("0.0.0.0"),
        _ if host.contains(':') => Err("an IPv6 address needs brackets"),
        _ if host.contains(['/', ';', '@', '*', ']']) || host.contains(char::is_whitespace) => {
            Err("the host holds a character that no host name has")
        }
        _ => Ok(host),
    }
}

fn parse_ipc(path: &str) -> Result<Transport, &'static str> {
    match path {
        "" => Err("the path is missing"),
        "*" => Err("`*` as path is not supported; name one"),
        _ if path.starts_with('@') => Err("abstract sockets are not supported"),
        _ if path.contains('\0') => Err("the path holds a NUL"),
        _ if path.len() > IPC_PATH_LEN_MAX => Err("the path is longer than 107 bytes"),
        _ => Ok(Transport::Ipc { path: PathBuf::from(path) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_prints_as_it_is_read() {
        for (text, expect) in [
            ("tcp://127.0.0.1:9940", "tcp://127.0.0.1:9940"),
            (" tcp://hub.fedoraproject.org:9940 ", "tcp://hub.fedoraproject.org:9940"),
            ("tcp://[::1]:2003", "tcp://[::1]:2003"),
            ("tcp://[fe80::1%eth0]:2003", "tcp://[fe80::1%eth0]:2003"),
            ("tcp://*:9940", "tcp://127.0.0.1:9940"),
            ("bind tcp://*:9940", "bind tcp://0.0.0.0:9940"),
            ("bind tcp://*:*", "bind tcp://0.0.0.0:0"),
            ("bind tcp://[::]:65535", "bind tcp://[::]:65535"),
            ("ipc:///run/bus.sock", "ipc:///run/bus.sock"),
            ("bind ipc:///run/bus.sock", "bind ipc:///run/bus.sock"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), expect);
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint), "{text}");
        }
    }

    #[test]
    fn what_is_not_says_why() {
        for (text, reason) in [
            ("", "transport is missing"),
            ("127.0.0.1:9940", "transport is missing"),
            ("udp://h:1", "only tcp and ipc"),
            ("tcp://host", "port is missing"),
            ("tcp://host:", "not between"),
            ("tcp://host:x", "not a number"),
            ("tcp://host:+1", "not a number"),
            ("tcp://host:65536", "not between"),
            ("tcp://host:0", "only for binding"),
            ("tcp://host:*", "only for binding"),
            ("tcp://:1", "host is missing"),
            ("tcp://::1:1", "needs brackets"),
            ("tcp://[::1:1", "not closed"),
            ("tcp://[host]:1", "not an IPv6"),
            ("tcp://a b:1", "no host name has"),
            ("tcp://eth0;10.0.0.1:1", "no host name has"),
            ("ipc://", "path is missing"),
            ("ipc://@name", "abstract"),
            ("ipc://*", "name one"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn an_ipc_path_must_fit_a_socket_address() {
        let path = |len: usize| format!("ipc://{}", "p".repeat(len));
        assert!(path(107).parse::<Endpoint>().is_ok());
        assert!(path(108).parse::<Endpoint>().is_err());
    }
}
