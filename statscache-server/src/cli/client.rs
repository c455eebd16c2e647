//! Questions and orders to a running daemon, over HTTP.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, Uri, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::net::TcpStream;

/// Variable with the token, where no file is named.
const TOKEN_VARIABLE: &str = "STATSCACHE_TOKEN";

/// Where orders go, and what they show.
#[derive(clap::Args)]
pub(super) struct AdminArgs {
    /// Where the daemon serves HTTP
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8888")]
    url: String,
    /// File with the token, that of [admin] token_file; else the variable STATSCACHE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// What is read of a problem.
#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// Reads something.
pub(super) async fn get<T: DeserializeOwned>(url: &str, path: &str) -> anyhow::Result<T> {
    exchange(Method::GET, url, path, None).await
}

/// Orders something.
pub(super) async fn post<T: DeserializeOwned>(args: &AdminArgs, path: &str) -> anyhow::Result<T> {
    let token = token(args.token_file.as_deref())?;
    exchange(Method::POST, &args.url, path, Some(&token)).await
}

fn token(file: Option<&Path>) -> anyhow::Result<String> {
    let token = match file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read --token-file {}", file.display()))?
        }
        None => std::env::var(TOKEN_VARIABLE)
            .with_context(|| format!("no token: name its file with --token-file, or set {TOKEN_VARIABLE}"))?,
    };
    Ok(token.trim().to_owned())
}

async fn exchange<T: DeserializeOwned>(
    method: Method,
    base: &str,
    path: &str,
    token: Option<&str>,
) -> anyhow::Result<T> {
    let url = format!("{}{path}", base.trim_end_matches('/'));
    let uri: Uri = url.parse().with_context(|| format!("--url {base} is no URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("--url {base}: only http:// is spoken here");
    }
    let failed = || match method {
        Method::GET => format!("cannot read {url}; is the daemon running? see --url"),
        _ => format!("{url} did not do it"),
    };
    let body = send(&method, &uri, token).await.with_context(failed)?;
    serde_json::from_slice(&body).with_context(|| format!("{url} is not a statscache daemon"))
}

async fn send(method: &Method, uri: &Uri, token: Option<&str>) -> anyhow::Result<Bytes> {
    let authority = uri.authority().context("the URL names no host")?.clone();
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(uri.path()).header(header::HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let response = client.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    if !status.is_success() {
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => bail!("it answers {status}: {}", problem.detail),
            Err(_) => bail!("it answers {status}"),
        }
    }
    Ok(body)
}
