//! The query string of a URL, strictly: what cannot be read is a problem, since a filter that was
//! read wrongly would find nothing and say so with a straight face.

use super::problem::Problem;

const ALLOWED: &str = "UTF-8, with % only before two hexadecimal digits";

/// Names and values, in order.
pub(crate) fn parse(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name =
            decode(name, b' ').ok_or_else(|| Problem::parameter(name, Some(value), format!("a name in {ALLOWED}")))?;
        let value = decode(value, b' ').ok_or_else(|| Problem::parameter(&name, Some(value), ALLOWED))?;
        Ok((name, value))
    });
    pairs.collect()
}

/// Part of a path.
pub(super) fn decode_path(text: &str) -> Option<String> {
    decode(text, b'+')
}

/// `%XX` is a byte; `None` if that makes no text.
fn decode(text: &str, plus: u8) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => plus,
            b'%' => hex(rest.next()?)? << 4 | hex(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Names and values as a query string.
pub(crate) fn encode<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        encode_into(&mut query, name);
        query.push('=');
        encode_into(&mut query, value);
    }
    query
}

/// Every byte that means something, or may, as `%XX`.
fn encode_into(query: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'*' | b':' | b',' | b'/' => {
                query.push(char::from(byte));
            }
            other => query.push_str(&format!("%{other:02X}")),
        }
    }
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
            assert_eq!(decode(text, b' ').as_deref(), decoded, "{text}");
        }
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let pairs = [("where.topic", "a&b=c d+é%\"<>"), ("by", ""), ("", "x,y:*/~")];
        let query = encode(pairs);
        assert_eq!(query, "where.topic=a%26b%3Dc%20d%2B%C3%A9%25%22%3C%3E&by=&=x,y:*/~");
        let read = parse(&query).expect("fine");
        assert!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(pairs));
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
