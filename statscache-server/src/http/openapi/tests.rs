//! The document against the routes.

use std::{collections::BTreeSet, sync::Arc};

use statscache_plugin_sdk::MetricDescriptor;

use crate::{
    app::App,
    clock::SystemClock,
    config::Config,
    http::{self, labels, params},
};

use super::*;

/// Routes that are no part of the API.
const NOT_DESCRIBED: [(&str, &str); 8] = [
    ("/admin", "only problems: what there is below it has routes of its own"),
    ("/dashboards", "leads to the dashboards"),
    ("/dashboards/", "pages for people"),
    ("/dashboards/{name}", "pages for people, and their parts"),
    ("/ui/{hash}/{*name}", "parts of the page at /"),
    ("/web", "leads old bookmarks to /"),
    ("/web/", "leads old bookmarks to /"),
    ("/web/{*rest}", "leads old bookmarks to /"),
];

/// A daemon without plugins, in this folder.
async fn app(dir: &std::path::Path) -> App {
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[data]\ndir = {:?}\n[bus]\nendpoints = [\"tcp://127.0.0.1:1\"]\n\
         [history]\nserve = true\n",
        dir.display()
    );
    let config = Config::parse(&text, "test").expect("a configuration");
    App::build(&config, &[], Arc::new(SystemClock)).await.expect("a daemon")
}

/// Paths of a router. It tells them only to people.
fn paths(router: &axum::Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let marks = text.match_indices("RouteId(");
    let path = |(at, _): (usize, &str)| {
        let rest = text[at..].split_once("): \"")?;
        // Of the map from numbers to routes the values are no texts.
        rest.0.bytes().skip("RouteId(".len()).all(|byte| byte.is_ascii_digit()).then_some(())?;
        Some(rest.1.split_once('"')?.0.to_owned())
    };
    // Those with `__` are for what is behind a nested router's routes.
    marks.filter_map(path).filter(|path| !path.contains("__")).collect()
}

#[test]
fn paths_of_routers_are_found() {
    let get = || axum::routing::get(|| async {});
    let inner = axum::Router::new().route("/{b}/c", get());
    let router = axum::Router::new().route("/", get().post(|| async {})).route("/a", get());
    let router = router.nest("/n", inner).merge(axum::Router::new().route("/m", get())).fallback(|| async {});
    assert_eq!(paths(&router), ["/", "/a", "/m", "/n/{b}/c"].map(str::to_owned).into());
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let app = app(dir.path()).await;
    let state = app.http_state();
    let document = make(&state, &state.cards(), &state.view.load());
    let described: BTreeSet<String> = document["paths"].as_object().expect("paths").keys().cloned().collect();
    let mut routes = paths(&http::router(state));
    for (route, reason) in NOT_DESCRIBED {
        assert!(routes.remove(route), "{route} is not there any more: {reason}");
    }
    assert_eq!(routes, described);
}

#[test]
fn every_parameter_is_described() {
    let metric = |kind: &Value| -> MetricDescriptor {
        serde_json::from_value(json!({"name": "m", "kind": kind, "dimensions": ["a", "b"]})).expect("a metric")
    };
    let names = |parameters: Vec<Value>| -> BTreeSet<String> {
        let shared = parameters::shared();
        let whole = parameters.into_iter().map(|parameter| match parameter["$ref"].as_str() {
            Some(reference) => shared[reference.rsplit('/').next().unwrap_or_default()].clone(),
            None => parameter,
        });
        let in_query = whole.filter(|parameter| parameter["in"] == "query");
        in_query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
    };
    let known = |text: String| text.split(", ").map(str::to_owned).collect::<BTreeSet<_>>();
    for kind in [json!({"type": "count"}), json!({"type": "latest", "n": 1})] {
        let metric = metric(&kind);
        assert_eq!(names(parameters::of_metric(&metric, 10)), known(params::known(&metric)), "{kind}");
        assert_eq!(names(parameters::of_label(&metric.dimensions)), known(labels::known(&metric)), "{kind}");
    }
}
