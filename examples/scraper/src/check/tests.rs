use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const BODY_BYTES: usize = 1000;

/// A server that answers by path, in every way that servers do.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

/// Errors are the client's going away.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        // Rubbish such as a TLS greeting: it has no end that we know.
        if stream.read_buf(&mut request).await? == 0 || !request.starts_with(b"GET ") {
            return stream.write_all(b"what?").await;
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let text = match request.split(' ').nth(1).unwrap_or_default() {
        "/never" => std::future::pending().await,
        "/close" => return Ok(()),
        "/rubbish" => "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
        "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of".to_owned(),
        "/chunk" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "/stall" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of").await?;
            std::future::pending().await
        }
        "/huge" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nwelcome").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        "/head" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
            loop {
                stream.write_all(&[b'x'; 4096]).await?;
            }
        }
        "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nwelcome".to_owned(),
        "/far" => format!("HTTP/1.1 200 OK\r\n\r\n{}welcome", " ".repeat(BODY_BYTES - 6)),
        "/near" => format!("HTTP/1.1 200 OK\r\n\r\n{}welcome", " ".repeat(BODY_BYTES - 7)),
        "/loop" => "HTTP/1.1 302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/relative" => "HTTP/1.1 307 Temporary Redirect\r\nlocation: ok?x=1\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/nowhere" => "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/mail" => "HTTP/1.1 301 Moved\r\nlocation: mailto://anna\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/unplaced" => "HTTP/1.1 300 Choices\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "/ok" | "/ok?x=1" => {
            // What is said of the client is shown.
            format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nwelcome\n{request}")
        }
        other => panic!("{other}"),
    };
    stream.write_all(text.as_bytes()).await
}

fn checker() -> Checker {
    let exchange =
        Exchange { body_bytes: BODY_BYTES, redirects: 3, user_agent: header::HeaderValue::from_static("tester") };
    Checker::new(exchange, false).expect("no certificates are needed")
}

fn rule() -> Rule {
    Rule { interval_secs: 60, timeout: Duration::from_secs(30), pattern: None, statuses: Box::default() }
}

fn matching(pattern: &str) -> Rule {
    Rule { pattern: Some(pattern.into()), ..rule() }
}

/// Status, network, match, expected, as one looks at it.
async fn look(checker: &Checker, url: &str, rule: &Rule) -> (Option<u16>, Network, Option<bool>, Option<bool>) {
    let Outcome { http_status, network, is_match, is_expected, response } = checker.check(url, rule).await;
    assert_eq!(response.is_some(), network == Network::Ok, "{url}: only an answer has taken a time");
    (http_status, network, is_match, is_expected)
}

#[tokio::test]
async fn every_way_to_answer_has_its_word() {
    let (server, checker) = (server().await, checker());
    for (path, rule, expected) in [
        ("/ok", rule(), (Some(200), Network::Ok, None)),
        ("/ok", matching("^welcome"), (Some(200), Network::Ok, Some(true))),
        ("/ok", matching("goodbye"), (Some(200), Network::Ok, Some(false))),
        // What the request says.
        ("/ok", matching(&format!("host: {server}\r\nuser-agent: tester\r\n")), (Some(200), Network::Ok, Some(true))),
        ("/ok", matching("accept-encoding: identity\r\nconnection: close"), (Some(200), Network::Ok, Some(true))),
        ("/missing", matching("welcome"), (Some(404), Network::Ok, Some(true))),
        ("/near", matching("welcome"), (Some(200), Network::Ok, Some(true))),
        ("/far", matching("welcome"), (Some(200), Network::Ok, Some(false))),
        ("/huge", matching("welcome"), (Some(200), Network::Ok, Some(true))),
        ("/close", matching("welcome"), (None, Network::Closed, None)),
        ("/rubbish", rule(), (None, Network::Http, None)),
        ("/head", rule(), (None, Network::Http, None)),
        ("/short", matching("half"), (Some(200), Network::Closed, None)),
        ("/chunk", rule(), (Some(200), Network::Closed, None)),
        ("/relative", matching("GET /ok\\?x=1 "), (Some(200), Network::Ok, Some(true))),
        ("/loop", rule(), (Some(302), Network::Redirects, None)),
        ("/mail", rule(), (Some(301), Network::Redirects, None)),
        ("/nowhere", rule(), (None, Network::Refused, None)),
        ("/unplaced", rule(), (Some(300), Network::Ok, None)),
    ] {
        let (status, network, is_match, _) = look(&checker, &format!("http://{server}{path}"), &rule).await;
        assert_eq!((status, network, is_match), expected, "{path} {:?}", rule.pattern);
    }
}

#[tokio::test]
async fn what_does_not_come_in_time_is_given_up() {
    let (server, checker) = (server().await, checker());
    let rule = Rule { timeout: Duration::from_millis(200), ..matching("half") };
    for (path, status) in [("/never", None), ("/stall", Some(200))] {
        let found = look(&checker, &format!("http://{server}{path}"), &rule).await;
        assert_eq!(found, (status, Network::Timeout, None, None), "{path}");
    }
}

#[tokio::test]
async fn where_nobody_is() {
    let (server, checker) = (server().await, checker());
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    // A label of more than 63 bytes: no resolver has to be asked.
    let unknown = format!("http://{}.example/", "x".repeat(70));
    for (url, network) in [
        (format!("http://{free}/"), Network::Refused),
        (unknown, Network::Dns),
        (format!("https://{server}/ok"), Network::Tls),
    ] {
        assert_eq!(look(&checker, &url, &rule()).await, (None, network, None, None), "{url}");
    }
}

#[tokio::test]
async fn expected_statuses_are_judged_and_not_followed() {
    let (server, checker) = (server().await, checker());
    for (path, statuses, expected) in [
        ("/ok", &[200, 204][..], (Some(200), Network::Ok, Some(true))),
        ("/ok", &[401], (Some(200), Network::Ok, Some(false))),
        ("/loop", &[302], (Some(302), Network::Ok, Some(true))),
        ("/loop", &[301], (Some(302), Network::Redirects, Some(false))),
        ("/close", &[200], (None, Network::Closed, None)),
    ] {
        let rule = Rule { statuses: statuses.into(), ..rule() };
        let (status, network, _, is_expected) = look(&checker, &format!("http://{server}{path}"), &rule).await;
        assert_eq!((status, network, is_expected), expected, "{path} {statuses:?}");
    }
    let exchange = Exchange { redirects: 0, ..checker.exchange.clone() };
    let checker = Checker::new(exchange, false).expect("no certificates are needed");
    let found = look(&checker, &format!("http://{server}/loop"), &rule()).await;
    assert_eq!(found, (Some(302), Network::Ok, None, None), "with no redirects a redirect is the answer");
}
