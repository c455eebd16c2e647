//! One look at one site: an exchange over HTTP, and a word for how it went.
//!
//! Every check has a connection of its own, as a visitor who comes for the first time: a pool would hide trouble with
//! names, connections and certificates, and grow with the sites.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Incoming},
    client::conn::http1,
    header, rt,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use crate::config::{Exchange, Rule, compile};
use resolve::{Resolver, Unresolved};

mod redirect;
mod resolve;
#[cfg(test)]
mod tests;

/// For all addresses of a host together, so that one that does not answer leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What the network did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Network {
    /// There was an answer, read as far as it was wanted.
    Ok,
    /// Not all of it came in time.
    Timeout,
    /// The host's name leads nowhere.
    Dns,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// No encrypted connection: a certificate that is not trusted, or not of this host.
    Tls,
    /// The connection ended before the answer did.
    Closed,
    /// The answer is not HTTP.
    Http,
    /// It redirects too often, or to where nothing can be.
    Redirects,
}

/// How a site was found.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) http_status: Option<u16>,
    pub(crate) network: Network,
    /// Whether the pattern was found; `None` without a pattern, or without a page.
    pub(crate) is_match: Option<bool>,
    /// Whether the status was one of those expected; `None` where none are, or there was no answer.
    pub(crate) is_expected: Option<bool>,
    /// How long all of it took, where there was an answer.
    pub(crate) response: Option<Duration>,
}

/// Looks at sites.
pub(crate) struct Checker {
    plain: HttpConnector<Resolver>,
    /// Not there without certificates to check those of sites with.
    tls: Option<HttpsConnector<HttpConnector<Resolver>>>,
    exchange: Exchange,
}

/// What one request led to.
enum Step {
    /// It is to be followed.
    Redirect(Uri),
    /// As much of the body as is wanted; nothing if it is not wanted.
    Body(Vec<u8>),
}

impl Checker {
    /// An error where sites need certificates and the system has none.
    pub(crate) fn new(exchange: Exchange, needs_tls: bool) -> anyhow::Result<Self> {
        let mut plain = HttpConnector::new_with_resolver(Resolver::default());
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut tcp = plain.clone();
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_native_roots();
        let tls = match tls.map(|tls| tls.https_only().enable_http1().wrap_connector(tcp)) {
            Ok(tls) => Some(tls),
            Err(_) if !needs_tls => None,
            Err(error) => Err(error).context(
                "no certificates to check those of https sites with; install the system's (package ca-certificates), \
                 or name a file in SSL_CERT_FILE",
            )?,
        };
        Ok(Self { plain, tls, exchange })
    }

    /// Looks at one site. Takes no longer than the rule's timeout.
    pub(crate) async fn check(&self, url: &str, rule: &Rule) -> Outcome {
        let started = Instant::now();
        let mut status = None;
        let visit = timeout(rule.timeout, self.visit(url, rule, &mut status)).await;
        let (network, body) = match visit.unwrap_or(Err(Network::Timeout)) {
            Ok(body) => (Network::Ok, Some(body)),
            Err(network) => (network, None),
        };
        let response = body.is_some().then(|| started.elapsed());
        let is_match = match (&rule.pattern, body) {
            (Some(pattern), Some(body)) => Some(compile(pattern).is_ok_and(|pattern| pattern.is_match(&body))),
            _ => None,
        };
        let is_expected = status.filter(|_| !rule.statuses.is_empty()).map(|status| rule.statuses.contains(&status));
        Outcome { http_status: status, network, is_match, is_expected, response }
    }

    /// Follows redirects to the page. `status` is that of the last answer, also where what follows fails.
    async fn visit(&self, url: &str, rule: &Rule, status: &mut Option<u16>) -> Result<Vec<u8>, Network> {
        let mut uri: Uri = url.parse().map_err(|_| Network::Dns)?;
        for followed in 0..=self.exchange.redirects {
            *status = None;
            match self.step(&uri, rule, status).await? {
                Step::Body(body) => return Ok(body),
                Step::Redirect(_) if followed == self.exchange.redirects => break,
                Step::Redirect(next) => uri = next,
            }
        }
        Err(Network::Redirects)
    }

    /// One request on a connection of its own.
    async fn step(&self, uri: &Uri, rule: &Rule, status: &mut Option<u16>) -> Result<Step, Network> {
        if uri.scheme_str() == Some("https") {
            let mut connector = self.tls.clone().ok_or(Network::Tls)?;
            let stream = connector.call(uri.clone()).await.map_err(|error| connect_trouble(&*error))?;
            self.ask(stream, uri, rule, status).await
        } else {
            let stream = self.plain.clone().call(uri.clone()).await.map_err(|error| connect_trouble(&error))?;
            self.ask(stream, uri, rule, status).await
        }
    }

    async fn ask<S>(&self, stream: S, uri: &Uri, rule: &Rule, status: &mut Option<u16>) -> Result<Step, Network>
    where
        S: rt::Read + rt::Write + Unpin,
    {
        let request = self.request(uri).map_err(|_| Network::Redirects)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(|error| trouble(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| trouble(&error))?;
            *status = Some(response.status().as_u16());
            if self.follows(&response, rule) {
                return redirect::target(uri, &response).map(Step::Redirect).ok_or(Network::Redirects);
            }
            self.read(response.into_body(), rule.pattern.is_some()).await.map(Step::Body)
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            step = &mut exchange => step,
            // What came before the end may not have been taken yet.
            _ = &mut connection => exchange.await,
        }
    }

    fn request(&self, uri: &Uri) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let host = uri.host().unwrap_or_default();
        let host = match uri.port_u16().filter(|port| *port != default_port) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Request::get(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, self.exchange.user_agent.clone())
            .header(header::ACCEPT, "*/*")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
    }

    /// Whether an answer only leads to another. One that is expected is the answer itself.
    fn follows(&self, response: &Response<Incoming>, rule: &Rule) -> bool {
        use StatusCode as S;
        let status = response.status();
        let redirects = [S::MOVED_PERMANENTLY, S::FOUND, S::SEE_OTHER, S::TEMPORARY_REDIRECT, S::PERMANENT_REDIRECT];
        self.exchange.redirects > 0
            && redirects.contains(&status)
            && response.headers().contains_key(header::LOCATION)
            && !rule.statuses.contains(&status.as_u16())
    }

    /// Reads as much of a body as is wanted: a site is up only if it sends that. Keeps it if somebody looks at it.
    async fn read(&self, mut body: Incoming, is_kept: bool) -> Result<Vec<u8>, Network> {
        let (mut kept, mut left) = (Vec::new(), self.exchange.body_bytes);
        while left > 0 {
            let Some(frame) = body.frame().await else { break };
            let Ok(data) = frame.map_err(|error| trouble(&error))?.into_data() else { continue };
            let wanted = data.len().min(left);
            left -= wanted;
            if is_kept {
                kept.extend_from_slice(&data[..wanted]);
            }
        }
        Ok(kept)
    }
}

/// Looks at a site in a task of its own, which may outlive who asks.
pub(crate) async fn check(checker: Arc<Checker>, url: String, rule: Arc<Rule>) -> Outcome {
    checker.check(&url, &rule).await
}

/// Why there is no connection.
fn connect_trouble(error: &(dyn std::error::Error + 'static)) -> Network {
    use std::io::{Error, ErrorKind as Kind};
    // What fails before TLS comes in the connector's own type.
    if error.is::<Error>() {
        return Network::Tls;
    }
    let causes = || std::iter::successors(Some(error), |error| error.source());
    if causes().any(|cause| cause.is::<Unresolved>()) {
        return Network::Dns;
    }
    match causes().find_map(|cause| cause.downcast_ref::<Error>()).map(Error::kind) {
        Some(Kind::ConnectionRefused) => Network::Refused,
        Some(Kind::ConnectionReset | Kind::ConnectionAborted) => Network::Closed,
        Some(Kind::TimedOut) => Network::Timeout,
        Some(_) => Network::Unreachable,
        // A host that no certificate can be for.
        None => Network::Tls,
    }
}

/// Why there is no whole answer.
fn trouble(error: &hyper::Error) -> Network {
    if error.is_parse() { Network::Http } else { Network::Closed }
}
