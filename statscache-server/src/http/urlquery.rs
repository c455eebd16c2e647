//! The query string of a URL, strictly: what cannot be read is a problem, since a filter that was
//! read wrongly would find nothing and say so with a straight face.

use super::problem::Problem;

const ALLOWED: &str = "UTF-8, with % only before two hexadecimal digits";

/// Names and values, in order.
pub(crate) fn parse(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = decode(name).ok_or_else(|| Problem::parameter(name, Some(value), format!("a name in {ALLOWED}")))?;
        let value = decode(value).ok_or_else(|| Problem::parameter(&name, Some(value), ALLOWED))?;
        Ok((name, value))
    });
    pairs.collect()
}

/// `+` is a blank and `%XX` a byte; `None` if that makes no text.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_or_refused() {
        for (text, decoded) in [
            ("", Some("")),
            ("a+b%20c", Some("a b c")),
            ("%2B%2b%25zz", Some("++%zz")),
            ("%c3%A9é", Some("éé")),
            ("%00", Some("\0")),
            ("%", None),
            ("a%2", None),
            ("%zz", None),
            ("%+1", None),
            ("%é", None),
            ("%ff", None),
            ("%c3", None),
            ("%ed%a0%80", None),
            ("%c0%80", None),
        ] {
            assert_eq!(decode(text).as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn a_query_is_pairs_in_order() {
        let pairs = parse("b=1&a=x%3Dy=z&&b=2&c&=d&%61+b=").expect("fine");
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("b", "1"), ("a", "x=y=z"), ("b", "2"), ("c", ""), ("", "d"), ("a b", "")]);
        assert!(parse("").expect("fine").is_empty());
        for query in ["a=1&b=%ff", "%zz=1"] {
            assert!(parse(query).is_err(), "{query}");
        }
    }
}
