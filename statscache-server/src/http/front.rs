//! Around all routes: what was answered from this view already is sent at once, and every answer is finished alike. It
//! is no layer of the router, because that names the methods in `Allow` only behind its layers.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request},
    response::Response,
};
use hyper::{body::Incoming, service::Service};
use tower_service::Service as _;

use super::{
    answers::{Answers, Variant, ViewId},
    common::{self, Asked},
    outgoing::{self, Outgoing},
};
use crate::ingest::PresentView;

/// The routes, and the answers that need none.
#[derive(Clone)]
pub(super) struct Front {
    hot: Arc<Hot>,
    routes: Router,
}

struct Hot {
    view: Arc<PresentView>,
    answers: Arc<Answers>,
    outgoing: Outgoing,
}

impl Front {
    pub(super) fn new(view: Arc<PresentView>, answers: Arc<Answers>, routes: Router) -> Self {
        Self { hot: Arc::new(Hot { view, answers, outgoing: Outgoing::new() }), routes }
    }
}

impl Hot {
    /// The answer, if it is there. What is wrong with the request, the routes say.
    fn find(&self, request: &Request<Incoming>) -> Option<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) || !request.uri().path().starts_with("/plugins/") {
            return None;
        }
        let target = request.uri().path_and_query()?.as_str();
        let variant = Variant::of(request.headers()).ok()?;
        let view = ViewId::of(&self.view.load());
        Some(self.answers.kept(target, variant, view)?.respond(request.headers()))
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        match self.hot.find(&request) {
            Some(response) if !outgoing::is_large(&response) => Answering::Found(Some(response)),
            Some(response) => {
                let outgoing = self.hot.outgoing.clone();
                Answering::Routed(Box::pin(async move { outgoing.hold(response).await }))
            }
            None => {
                let asked = Asked::of(&request);
                let routed = self.routes.clone().call(request.map(Body::new));
                let outgoing = self.hot.outgoing.clone();
                Answering::Routed(Box::pin(async move {
                    let Ok(response) = routed.await;
                    outgoing.hold(common::finish(asked, response).await).await
                }))
            }
        }
    }
}

/// A response, or what will become one.
pub(super) enum Answering {
    Found(Option<Response>),
    Routed(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Found(response) => response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response))),
            Self::Routed(routed) => routed.as_mut().poll(cx).map(Ok),
        }
    }
}
