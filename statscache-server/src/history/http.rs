//! One HTTP exchange with a service that is not trusted: bounded in time, size and redirects. No cookies, no proxy.
//!
//! `http` and `https`; certificates are checked against those that the system trusts (`SSL_CERT_FILE` names others).

use std::{io, sync::OnceLock, time::Duration};

use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use statscache_plugin_sdk::Timestamp;

use crate::health::describe;

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 3;
/// How long a connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(20);

/// Makes requests, on connections that are kept for a while.
pub(crate) struct HttpClient {
    plain: Client<HttpConnector, Full<Bytes>>,
    /// Made for the first `https` URL: without one, nobody needs the system's certificates.
    tls: OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
    timeout: Duration,
    bytes_max: usize,
}

/// An answer, whatever its status.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// How long the service wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("no certificates to check the service's with: {0}; install the system's (package ca-certificates)")]
    Certificates(io::Error),
    #[error("{0}")]
    Exchange(String),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
    #[error("it redirects to {0}, which is not followed")]
    Redirect(String),
    #[error("the request cannot be made: {0}")]
    Request(#[from] axum::http::Error),
}

impl HttpClient {
    /// `timeout` is for the whole of an exchange, `bytes_max` for the body of an answer.
    pub(crate) fn new(timeout: Duration, bytes_max: usize) -> Self {
        let plain = client(plain_connector(timeout));
        Self { plain, tls: OnceLock::new(), timeout, bytes_max }
    }

    /// Reads what is at an address. Redirects are followed, but none from `https` to `http`; a token is for the first
    /// host alone.
    pub(crate) async fn get(&self, uri: &Uri, headers: &HeaderMap) -> Result<Reply, HttpError> {
        let exchange = async {
            let (mut uri, mut headers) = (uri.clone(), headers.clone());
            for _ in 0..=REDIRECTS_MAX {
                let response = self.exchange(Method::GET, &uri, &headers, Bytes::new()).await?;
                match redirect(&uri, &response)? {
                    Some(next) => {
                        if next.authority() != uri.authority() {
                            headers.remove(header::AUTHORIZATION);
                        }
                        uri = next;
                    }
                    None => return self.read(response).await,
                }
            }
            Err(HttpError::Redirect(format!("{uri}, after {REDIRECTS_MAX} others")))
        };
        self.in_time(exchange).await
    }

    /// Sends a body; redirects are not followed.
    pub(crate) async fn post(&self, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Reply, HttpError> {
        let exchange = async { self.read(self.exchange(Method::POST, uri, headers, body).await?).await };
        self.in_time(exchange).await
    }

    async fn in_time<T>(&self, exchange: impl Future<Output = Result<T, HttpError>>) -> Result<T, HttpError> {
        let in_time = tokio::time::timeout(self.timeout, exchange).await;
        in_time.unwrap_or(Err(HttpError::Timeout(self.timeout)))
    }

    async fn exchange(
        &self,
        method: Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, HttpError> {
        let mut request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
        request.headers_mut().extend(headers.clone());
        let agent = HeaderValue::from_static(concat!("statscache/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let response = match uri.scheme_str() {
            Some("https") => self.tls()?.request(request).await,
            _ => self.plain.request(request).await,
        };
        response.map_err(|error| HttpError::Exchange(describe(&error)))
    }

    fn tls(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, HttpError> {
        if let Some(client) = self.tls.get() {
            return Ok(client);
        }
        let mut tcp = plain_connector(self.timeout);
        tcp.enforce_http(false);
        let tls = HttpsConnectorBuilder::new().with_native_roots().map_err(HttpError::Certificates)?;
        let connector = tls.https_only().enable_http1().wrap_connector(tcp);
        Ok(self.tls.get_or_init(|| client(connector)))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Reply, HttpError> {
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, self.bytes_max).collect().await.map_err(|error| {
            match error.downcast_ref::<LengthLimitError>() {
                Some(_) => HttpError::TooLarge(self.bytes_max),
                None => HttpError::Exchange(format!("the answer breaks off: {}", describe(&*error))),
            }
        })?;
        Ok(Reply { status: parts.status, retry_after: retry_after(&parts.headers), body: body.to_bytes() })
    }
}

fn plain_connector(timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timeout));
    connector
}

fn client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(connector)
}

/// Where a redirect leads.
fn redirect<B>(from: &Uri, response: &Response<B>) -> Result<Option<Uri>, HttpError> {
    use StatusCode as S;
    let is_redirect = [S::MOVED_PERMANENTLY, S::FOUND, S::SEE_OTHER, S::TEMPORARY_REDIRECT, S::PERMANENT_REDIRECT];
    if !is_redirect.contains(&response.status()) {
        return Ok(None);
    }
    let place = response.headers().get(header::LOCATION).map(|place| String::from_utf8_lossy(place.as_bytes()));
    let Some(place) = place else { return Err(HttpError::Redirect("no place that it names".to_owned())) };
    let refused = || HttpError::Redirect(place.to_string());
    let to: Uri = place.parse().map_err(|_| refused())?;
    let mut parts = to.into_parts();
    if parts.scheme.is_none() && parts.authority.is_none() && place.starts_with('/') {
        (parts.scheme, parts.authority) = (from.scheme().cloned(), from.authority().cloned());
    }
    let is_downgrade = from.scheme() == Some(&uri::Scheme::HTTPS) && parts.scheme != Some(uri::Scheme::HTTPS);
    let is_web = matches!(parts.scheme.as_ref().map(uri::Scheme::as_str), Some("http" | "https"));
    if is_downgrade || !is_web || parts.authority.is_none() {
        return Err(refused());
    }
    Uri::from_parts(parts).map(Some).map_err(|_| refused())
}

/// `Retry-After`: seconds, or a date, which is compared with the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::RETRY_AFTER)?.trim();
    if let Ok(secs) = after.parse() {
        return Some(Duration::from_secs(secs));
    }
    let micros = date(after)?.micros() - date(text(header::DATE)?)?.micros();
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Timestamp::from_micros(time.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_seconds_and_as_dates() {
        let check = |after: &str, date: &str, expect: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, after.parse().expect("a value"));
            headers.insert(header::DATE, date.parse().expect("a value"));
            assert_eq!(retry_after(&headers), expect.map(Duration::from_secs), "{after} at {date}");
        };
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        check("7", now, Some(7));
        check("Sun, 06 Nov 1994 08:50:00 GMT", now, Some(23));
        check("Sun, 06 Nov 1994 08:49:00 GMT", now, Some(0));
        check("Sun, 06 Nov 1994 08:50:00 GMT", "today", None);
        check("soon", now, None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn redirects_lead_to_the_web_and_never_out_of_tls() {
        let check = |from: &str, status: u16, place: &str, expect: Result<Option<&str>, &str>| {
            let mut response = Response::builder().status(status);
            if !place.is_empty() {
                response = response.header(header::LOCATION, place);
            }
            let response = response.body(()).expect("a response");
            let to = redirect(&from.parse().expect("a URI"), &response);
            let to = to.map(|to| to.map(|to| to.to_string())).map_err(|error| error.to_string());
            match (expect, to) {
                (Ok(expect), Ok(to)) => assert_eq!(to.as_deref(), expect, "{from} to {place}"),
                (Err(words), Err(error)) => assert!(error.contains(words), "{error}"),
                (expect, to) => panic!("{from} to {place}: {to:?}, not {expect:?}"),
            }
        };
        check("http://a/raw", 200, "http://b/", Ok(None));
        check("http://a/raw", 302, "https://b/raw?x=1", Ok(Some("https://b/raw?x=1")));
        check("http://a/raw", 308, "/raw/?x=1", Ok(Some("http://a/raw/?x=1")));
        check("https://a/raw", 301, "/b", Ok(Some("https://a/b")));
        check("https://a/raw", 301, "http://a/raw", Err("http://a/raw, which is not followed"));
        check("http://a/raw", 301, "ftp://a/raw", Err("ftp://a/raw"));
        check("http://a/raw", 301, "", Err("no place"));
    }
}
