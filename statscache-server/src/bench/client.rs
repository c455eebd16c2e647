//! A client of the daemon: one connection that stays open, one question after the other.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1::SendRequest, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle};

/// A connection.
pub struct Client {
    host: String,
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self { host: address.to_string(), sender, connection: tokio::spawn(connection) })
    }

    /// Asks; anything but 200 is an error.
    pub async fn get(&mut self, target: &str) -> anyhow::Result<Bytes> {
        let request = Request::builder().uri(target).header(header::HOST, &self.host);
        // The answer before this one may be read, and the connection not yet be done with it.
        self.sender.ready().await.context("the daemon closed the connection")?;
        let response = self.sender.send_request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "{target}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The value below which this part of them is; they are in order.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}
