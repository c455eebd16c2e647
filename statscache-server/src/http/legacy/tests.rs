use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use statscache_core::query::{Answer, Query, QueryError};
use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{
    answer::{Format, callback, json},
    links::Base,
    page::{Number, Page},
    rows::{label, narrowed, range},
};
use crate::http::urlquery;

fn page(query: &str) -> Page {
    Page::read(&urlquery::parse(query).expect("fine")).unwrap_or_else(|problem| panic!("{query}: {problem:?}"))
}

/// Offset, rows at most, and the place when so many rows were found.
fn place(query: &str, found: usize) -> (usize, usize, Option<(usize, usize)>) {
    let page = page(query);
    let number = page.check(found).ok().map(|Number { page, pages }| (page, pages));
    (page.offset(), page.len_max(), number)
}

#[test]
fn pages_are_pieces_of_all_rows() {
    for (query, found, expected) in [
        ("", 0, (0, 100, Some((1, 0)))),
        ("", 1, (0, 100, Some((1, 1)))),
        ("", 100, (0, 100, Some((1, 1)))),
        ("", 101, (0, 100, Some((1, 2)))),
        ("page=2", 101, (100, 100, Some((2, 2)))),
        ("page=2", 100, (100, 100, Some((2, 1)))),
        ("page=2", 99, (100, 100, None)),
        ("page=3", 200, (200, 100, Some((3, 2)))),
        ("page=4&rows_per_page=3", 10, (9, 3, Some((4, 4)))),
        ("rows_per_page=1000", 250, (0, 100, Some((1, 3)))),
        ("limit=2", 10, (0, 2, Some((1, 1)))),
        ("limit=0", 10, (0, 0, Some((1, 0)))),
        ("limit=150", 1000, (0, 100, Some((1, 2)))),
        ("limit=150&page=2", 1000, (100, 50, Some((2, 2)))),
        ("limit=150&page=3", 1000, (200, 0, None)),
        ("limit=99999", 150, (0, 100, Some((1, 2)))),
        ("limit=&page=&rows_per_page=", 101, (0, 100, Some((1, 2)))),
        ("page=2&page=x", 200, (100, 100, Some((2, 2)))),
        ("page=18446744073709551615", 200, (usize::MAX, 100, None)),
    ] {
        assert_eq!(place(query, found), expected, "{query} of {found}");
    }
}

#[test]
fn what_is_no_number_is_said() {
    for query in [
        "page=x",
        "page=0",
        "page=-1",
        "page=1.5",
        "rows_per_page=0",
        "rows_per_page=-5",
        "limit=-1",
        "limit=ten",
        "start=soon",
        "start=nan",
        "stop=inf",
        "stop=99999999999999999999x",
    ] {
        let name = query.split('=').next().unwrap_or_default();
        let problem = Page::read(&urlquery::parse(query).expect("fine")).expect_err(query);
        assert!(format!("{problem:?}").contains(&format!("parameter `{name}` is")), "{query}: {problem:?}");
    }
    assert!(page("order=asc").ascending);
    for query in ["", "order=ASC", "order=desc", "order=", "order=ascending"] {
        assert!(!page(query).ascending, "{query}");
    }
    let time = |query: &str| page(query).start.map(Timestamp::micros);
    assert_eq!(time("start=1504650000.5"), Some(1_504_650_000_500_000));
    assert_eq!(time("start=%2B1e3"), Some(1_000_000_000));
    assert_eq!(time("start=1e300"), Some(i64::MAX));
    assert_eq!((time("start="), time("stop=7")), (None, None));
}

/// Whether the question for labels from `start` to `stop` is for the bucket with this label.
fn has(label: i64, (start, stop): (Option<i64>, i64), width: Resolution) -> bool {
    let (start, end) = range(start.map(Timestamp::from_micros), Timestamp::from_micros(stop), Some(width));
    let bucket = Timestamp::from_micros(label - width.micros());
    start.is_none_or(|start| start <= bucket) && bucket < end
}

#[test]
fn labels_are_ends_of_buckets_and_both_bounds_are_in() {
    const M: i64 = 60_000_000;
    let minute = Resolution::MINUTE;
    for (start, stop, expected) in [
        (Some(10 * M), 12 * M, &[10, 11, 12][..]),
        (Some(10 * M - 1), 12 * M + 1, &[10, 11, 12]),
        (Some(10 * M + 1), 12 * M - 1, &[11]),
        (Some(10 * M), 10 * M, &[10]),
        (Some(10 * M + 1), 11 * M - 1, &[]),
        (None, 9 * M, &[8, 9]),
        (Some(13 * M), 12 * M, &[]),
    ] {
        let found: Vec<i64> = (8..15).filter(|label| has(label * M, (start, stop), minute)).collect();
        assert_eq!(found, expected, "{start:?} to {stop}");
    }
    let at = Timestamp::from_micros;
    assert_eq!(label(at(9 * M), Some(minute)), 600.0);
    assert_eq!(label(at(-M), Some(minute)), 0.0);
    assert_eq!(label(at(1_999_999), None), 1.0);
    assert_eq!(label(at(-1), None), -1.0);
    assert_eq!(range(Some(at(5)), at(7), None), (Some(at(5)), at(8)));
    assert_eq!(range(Some(at(10 * M)), at(10 * M), Some(minute)), (Some(at(9 * M)), at(10 * M)), "no empty range");
    assert_eq!(range(Some(at(i64::MIN)), at(i64::MAX), Some(minute)).0, Some(at(i64::MIN)));
}

fn links(headers: &[(&str, &str)], query: &str, (page, pages): (usize, usize)) -> String {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a name");
        map.insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    Base::of(&map).links("log", &urlquery::parse(query).expect("fine"), Number { page, pages })
}

#[test]
fn links_lead_to_the_pages_around_with_all_that_was_asked() {
    let host = [("host", "stats.example.org:8000")];
    assert_eq!(links(&host, "", (1, 1)), "");
    assert_eq!(links(&host, "", (1, 0)), "");
    assert_eq!(
        links(&host, "start=1&page=2&order=asc&_=7", (2, 3)),
        "<http://stats.example.org:8000/api/log?start=1&order=asc&_=7&page=1>; rel=\"previous\", \
         <http://stats.example.org:8000/api/log?start=1&order=asc&_=7&page=3>; rel=\"next\""
    );
    let hostile = links(&host, "x=%3E%3B+rel%3D%22next%22%0D%0A&%C3%A9=1", (1, 2));
    let hostile = hostile.strip_suffix(">; rel=\"next\"").expect(&hostile);
    assert!(hostile.strip_prefix('<').expect(hostile).bytes().all(|b| b.is_ascii_graphic() && b != b'>'), "{hostile}");
    let [forwarded, proto] = [("x-forwarded-host", "a.example, b.example"), ("x-forwarded-proto", "HTTPS")];
    for (headers, base) in [
        (vec![], "/api"),
        (vec![forwarded, proto, host[0]], "https://a.example/api"),
        (vec![proto, host[0]], "https://stats.example.org:8000/api"),
        (vec![("x-forwarded-host", "a>b"), host[0]], "http://stats.example.org:8000/api"),
        (vec![("x-forwarded-proto", "javascript"), ("host", "[::1]:80")], "http://[::1]:80/api"),
        (vec![("host", "a b")], "/api"),
    ] {
        assert_eq!(links(&headers, "", (1, 2)), format!("<{base}/log?page=2>; rel=\"next\""), "{headers:?}");
    }
}

#[test]
fn the_best_of_what_the_client_takes() {
    let format = |accept: Option<&str>| {
        let mut headers = HeaderMap::new();
        accept.into_iter().for_each(|accept| drop(headers.insert(header::ACCEPT, accept.parse().expect("a value"))));
        Format::of(&headers, Format::ALL)
    };
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8";
    for (accept, expected) in [
        (None, Some(Format::Json)),
        (Some(""), Some(Format::Json)),
        (Some("*/*"), Some(Format::Json)),
        (Some(BROWSER), Some(Format::Json)),
        (Some("application/json, text/javascript, */*; q=0.01"), Some(Format::Json)),
        (Some("text/json"), Some(Format::Json)),
        (Some("text/*"), Some(Format::Json)),
        (Some("text/javascript"), Some(Format::Json)),
        (Some("text/csv"), Some(Format::Csv("text/csv; charset=utf-8"))),
        (Some("application/csv"), Some(Format::Csv("application/csv"))),
        (Some("application/csv, text/csv"), Some(Format::Csv("application/csv"))),
        (Some("text/csv;q=0.9, application/json;q=0.8"), Some(Format::Csv("text/csv; charset=utf-8"))),
        (Some("text/csv, application/json"), Some(Format::Json)),
        (Some("text/html"), None),
        (Some("image/png"), None),
        (Some("application/json;q=0"), None),
    ] {
        assert_eq!(format(accept), expected, "{accept:?}");
    }
}

#[tokio::test]
async fn a_script_calls_a_function_and_nothing_else() {
    for (name, is_fine) in [
        ("x", true),
        ("jQuery21408_1449", true),
        ("angular.callbacks._0", true),
        ("$.a", true),
        ("alert(1);x", false),
        ("a..b", false),
        (".a", false),
        ("1a", false),
        ("a-b", false),
        ("ä", false),
        (&*"x".repeat(129), false),
    ] {
        let parameters = [("callback".to_owned(), name.to_owned())];
        assert_eq!(callback(&parameters).ok(), is_fine.then_some(Some(name)), "{name}");
    }
    assert_eq!(callback(&[("callback".to_owned(), String::new())]).expect("none"), None);
    let response = json(&["a\u{2028}b"], Some("x")).expect("written");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/javascript; charset=utf-8");
    let body = axum::body::to_bytes(response.into_body(), 100).await.expect("short");
    assert_eq!(body, "x([\"a\\u2028b\"])");
}

#[test]
fn a_range_that_is_too_much_is_cut_to_its_newest_part() {
    let at = Timestamp::from_secs;
    let query = Query { start: Some(at(0)), end: Some(at(800)), step: Some(Resolution::SECOND), ..Query::default() };
    let kept = |max: i64| {
        let run = |query: &Query| match query.end.zip(query.start) {
            Some((end, start)) if end.micros() - start.micros() <= max * 1_000_000 => Ok(answer(start)),
            _ => Err(QueryError::TooManyRows),
        };
        narrowed(query.clone(), run).map(|(answer, is_narrowed)| (answer.start, is_narrowed)).ok()
    };
    assert_eq!(kept(800), Some((Some(at(0)), false)));
    assert_eq!(kept(799), Some((Some(at(400)), true)));
    assert_eq!(kept(100), Some((Some(at(700)), true)));
    assert_eq!(kept(0), None, "one step is too much");
}

fn answer(start: Timestamp) -> Answer {
    Answer {
        start: Some(start),
        end: start,
        step: None,
        dimensions: Vec::new(),
        rows: Vec::new(),
        total: 0,
        cells: 0,
        truncated: false,
        coverage: Vec::new(),
    }
}
