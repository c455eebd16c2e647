//! What a client can read: `Accept` and `Accept-Encoding`, as RFC 9110 sections 12.4.2, 12.5.1 and 12.5.3 have them.

use axum::http::{HeaderMap, HeaderName};

/// How the bytes of an answer are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Encoding {
    /// As they are.
    #[default]
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// The best that the client takes: of equal ones the smallest result.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(accept) = text(headers, &axum::http::header::ACCEPT_ENCODING) else { return Self::Identity };
        let of = |name: &str| ranges(&accept).find(|range| range.0.eq_ignore_ascii_case(name)).map(|range| range.1);
        // `*` stands for what is not named, by neither of its names.
        let quality = |named: Option<u16>| named.or_else(|| of("*")).unwrap_or(0);
        let (zstd, gzip) = (quality(of("zstd")), quality(of("gzip").max(of("x-gzip"))));
        match (zstd, gzip) {
            (0, 0) => Self::Identity,
            (zstd, gzip) if zstd >= gzip => Self::Zstd,
            _ => Self::Gzip,
        }
    }

    /// Its name in headers; `None` for what is not packed.
    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Place of the media type that the client likes best of those offered, of equal ones the first; `None` if it takes
/// none of them. Without `accept` it takes all.
pub(super) fn prefers(accept: Option<&str>, offered: &[&str]) -> Option<usize> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return (!offered.is_empty()).then_some(0);
    };
    let quality = |offer: &str| {
        let fits = ranges(accept).filter_map(|(range, quality)| Some((specificity(range, offer)?, quality)));
        fits.max_by_key(|(specificity, _)| *specificity).map_or(0, |(_, quality)| quality)
    };
    let best = offered.iter().enumerate().map(|(place, offer)| (quality(offer), place));
    best.filter(|(quality, _)| *quality > 0)
        .max_by_key(|(quality, place)| (*quality, usize::MAX - place))
        .map(|best| best.1)
}

/// How closely a range such as `text/*` names a media type; `None` if it does not.
fn specificity(range: &str, offer: &str) -> Option<u8> {
    let (kind, subtype) = range.split_once('/')?;
    let (offered, offered_subtype) = offer.split_once('/')?;
    match (kind, subtype) {
        ("*", "*") => Some(0),
        (kind, "*") if kind.eq_ignore_ascii_case(offered) => Some(1),
        (kind, subtype) if kind.eq_ignore_ascii_case(offered) && subtype.eq_ignore_ascii_case(offered_subtype) => {
            Some(2)
        }
        _ => None,
    }
}

/// Names and their qualities in thousandths. Parameters other than `q` are passed over; a quality that cannot be read
/// is 0, so that a mistake is not taken for a wish.
fn ranges(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let quality = parts.find_map(|part| {
            let (key, value) = part.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some((name, quality.unwrap_or(1000)))
    })
}

fn thousandths(text: &str) -> u16 {
    let quality: f32 = text.parse().unwrap_or(0.0);
    if (0.0..=1.0).contains(&quality) { (quality * 1000.0).round() as u16 } else { 0 }
}

/// A header that may be given several times, as one list.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<std::borrow::Cow<'h, str>> {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let first = values.next()?;
    Some(values.fold(first.into(), |all, value| format!("{all},{value}").into()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn the_best_offer_is_chosen() {
        let offered = ["application/json", "text/csv", "text/html"];
        for (accept, place) in [
            ("", Some(0)),
            ("*/*", Some(0)),
            ("text/csv", Some(1)),
            ("TEXT/CSV", Some(1)),
            ("text/*", Some(1)),
            ("text/*;q=0.5, application/json;q=0.4", Some(1)),
            ("text/*;q=0.5, text/html, text/csv;q=0.9", Some(2)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(2)),
            ("application/json, text/csv", Some(0)),
            ("text/csv, application/json", Some(0)),
            ("application/json;q=0, */*", Some(1)),
            ("application/json;q=0", None),
            ("image/png", None),
            ("image/png, */*;q=0.1", Some(0)),
            ("text/csv;header=present;q=0.3, text/html;q=0.2", Some(1)),
            ("application/json;q=much, text/html;q=0.001", Some(2)),
            ("application/json;q=2, text/html;q=0.1", Some(2)),
            ("nonsense", None),
            (",,;q=1,", None),
        ] {
            assert_eq!(prefers(Some(accept), &offered), place, "{accept}");
        }
        assert_eq!(prefers(None, &offered), Some(0));
        assert_eq!(prefers(None, &[]), None);
    }

    #[test]
    fn what_is_smallest_is_packed_unless_refused() {
        for (accept, encoding) in [
            (&["gzip, deflate, br, zstd"][..], Encoding::Zstd),
            (&["gzip"], Encoding::Gzip),
            (&["x-gzip"], Encoding::Gzip),
            (&["gzip;q=1.0, zstd;q=0.5"], Encoding::Gzip),
            (&["zstd;q=0, *"], Encoding::Gzip),
            (&["*;q=0"], Encoding::Identity),
            (&["gzip;q=0, zstd;q=0, *"], Encoding::Identity),
            (&["x-gzip;q=0, zstd;q=0, *;q=0.5"], Encoding::Identity),
            (&["deflate", "gzip"], Encoding::Gzip),
            (&["identity"], Encoding::Identity),
            (&[""], Encoding::Identity),
            (&[], Encoding::Identity),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(Encoding::of(&headers), encoding, "{accept:?}");
        }
    }
}
