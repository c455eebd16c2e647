//! Around all routes: what was answered from this view already is sent at once, and every answer is finished alike. It
//! is no layer of the router, because that names the methods in `Allow` only behind its layers.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, extract::Request, response::Response};
use tower_service::Service;

use super::{
    answers::{Answers, Variant, ViewId, is_read},
    common::{self, Asked},
    outgoing::Outgoing,
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
    pub(super) fn new(view: Arc<PresentView>, answers: Arc<Answers>, outgoing: Outgoing, routes: Router) -> Self {
        Self { hot: Arc::new(Hot { view, answers, outgoing }), routes }
    }
}

impl Hot {
    /// The answer, if it is there. What is wrong with the request, the routes say.
    fn find(&self, request: &Request) -> Option<Response> {
        if !is_read(request.method()) || !request.uri().path().starts_with("/plugins/") {
            return None;
        }
        let target = request.uri().path_and_query()?.as_str();
        let variant = Variant::of(request.headers()).ok()?;
        let view = ViewId::of(&self.view.load());
        Some(self.answers.respond(&*self.answers.kept(target, variant, view)?, request.headers()))
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Answering {
        match self.hot.find(&request) {
            Some(response) => Answering::Found(Some(response)),
            None => {
                let (asked, routed) = (Asked::of(&request), self.routes.call(request));
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
