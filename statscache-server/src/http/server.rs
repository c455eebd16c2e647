//! Connections: HTTP/1.1 by hyper itself, a task each. axum's own server does the same with several layers in between,
//! which cost as much as an answer that is there already.

use std::pin::pin;

use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{sync::watch, task::JoinSet};

use super::{
    connections::{Connection, LimitedListener},
    front::Front,
};

/// Answers until `stop` is done; then no connection is taken any more, and each ends behind the answer that is under way.
pub(super) async fn serve(mut listener: LimitedListener, front: Front, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let closing = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    loop {
        let (connection, address) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let (front, closing) = (front.clone(), closing.subscribe());
        connections.spawn(async move {
            if let Err(error) = answer(connection, front, closing).await {
                tracing::debug!(%address, "a connection ended: {error}");
            }
        });
    }
    drop(listener);
    closing.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn answer(connection: Connection, front: Front, mut closing: watch::Receiver<bool>) -> hyper::Result<()> {
    // Who is too slow with a request, the connection itself leaves.
    let mut server = http1::Builder::new();
    server.header_read_timeout(None);
    let mut answering = pin!(server.serve_connection(TokioIo::new(connection), front));
    tokio::select! {
        biased;
        ended = answering.as_mut() => return ended,
        _ = closing.wait_for(|is_closing| *is_closing) => {}
    }
    answering.as_mut().graceful_shutdown();
    answering.await
}
