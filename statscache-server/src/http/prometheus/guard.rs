//! PromQL from strangers: bounds on the text before the parser sees it, which clones and recurses along
//! what it reads, compiles regular expressions at once, and panics at durations beyond its own.

use promql_parser::parser::{self, Expr};

use super::answer::ApiError;

/// Bytes of a query: a list of a thousand label values fits in.
const QUERY_BYTES_MAX: usize = 64 << 10;
/// Words, signs and texts of a query: it is nested no deeper than that, which a thread's stack bears.
const TOKENS_MAX: usize = 1000;
/// Regular expressions of a query: each may take 10 MB while it is compiled.
const REGEXES_MAX: usize = 16;
/// The longest duration, seconds: a hundred years.
const DURATION_MAX: f64 = 3.2e9;

/// Reads a query.
pub(super) fn parse(text: &str) -> Result<Expr, ApiError> {
    read("query", text)
}

/// Reads selectors, which together may have no more than one query.
pub(super) fn parse_all(name: &str, texts: &[&str]) -> Result<Vec<Expr>, ApiError> {
    check(&texts.join("\n")).map_err(|why| ApiError::parameter(name, why))?;
    texts.iter().map(|text| read(name, text)).collect()
}

fn read(name: &str, text: &str) -> Result<Expr, ApiError> {
    check(text)
        .and_then(|()| parser::parse(text))
        .map_err(|why| ApiError::parameter(name, format!("parse error: {why}")))
}

/// Whether the parser may have it.
fn check(text: &str) -> Result<(), String> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(format!("the query has more than {QUERY_BYTES_MAX} bytes"));
    }
    let mut scan = Scan { rest: text, tokens: 0, regexes: 0, is_span: false };
    while scan.next()? {
        if scan.tokens > TOKENS_MAX {
            return Err(format!("the query has more than {TOKENS_MAX} words and signs"));
        }
        if scan.regexes > REGEXES_MAX {
            return Err(format!("the query has more than {REGEXES_MAX} regular expressions; join some with |"));
        }
    }
    Ok(())
}

/// Goes over a query, roughly as its lexer does.
struct Scan<'q> {
    rest: &'q str,
    tokens: usize,
    regexes: usize,
    /// Whether a duration comes next.
    is_span: bool,
}

impl<'q> Scan<'q> {
    /// Passes over one token; false at the end.
    fn next(&mut self) -> Result<bool, String> {
        self.rest = self.rest.trim_start();
        let Some(first) = self.rest.chars().next() else { return Ok(false) };
        match first {
            '#' => {
                let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
                return Ok(true);
            }
            '"' | '\'' | '`' => self.text(first),
            _ if is_word(first) => self.word()?,
            _ => self.sign(first),
        }
        self.tokens += 1;
        Ok(true)
    }

    fn text(&mut self, quote: char) {
        let mut is_escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == quote && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped && quote != '`';
            is_end
        });
        self.rest = end.map_or("", |(at, c)| &self.rest[at + c.len_utf8()..]);
        self.is_span = false;
    }

    fn word(&mut self) -> Result<(), String> {
        let word = self.take_word();
        let is_long = |secs: f64| !secs.is_finite() || secs.abs() > DURATION_MAX;
        if self.is_span && word.parse().is_ok_and(is_long) {
            return Err(format!("`{word}` is no duration, or longer than a hundred years"));
        }
        self.is_span = word.eq_ignore_ascii_case("offset");
        Ok(())
    }

    /// A name, a number or a span; `1e-9` is one.
    fn take_word(&mut self) -> &'q str {
        let end_of = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
        let mut end = end_of(self.rest);
        let is_number = self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        if is_number && self.rest[..end].ends_with(['e', 'E']) && self.rest[end..].starts_with(['+', '-']) {
            end += 1 + end_of(&self.rest[end + 1..]);
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn sign(&mut self, first: char) {
        self.regexes += usize::from(self.rest.starts_with("=~") || self.rest.starts_with("!~"));
        self.is_span = matches!(first, '[' | ':') || (self.is_span && matches!(first, '+' | '-'));
        self.rest = &self.rest[first.len_utf8()..];
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse(text) {
            Err(error) => format!("{error:?}"),
            Ok(expr) => panic!("{text} is read as {expr:?}"),
        }
    }

    #[test]
    fn what_would_panic_or_take_all_is_refused() {
        for span in ["1e300", "1e+300", "9e99", "Inf", "nan", "3200000001"] {
            for query in [
                format!("a[{span}]"),
                format!("a offset {span}"),
                format!("a offset - {span}"),
                format!("a[5m:{span}]"),
            ] {
                refused(&query);
            }
        }
        assert!(refused(&"-".repeat(100_000)).contains("bytes"));
        assert!(refused(&format!("{}1", "-".repeat(1000))).contains("words and signs"));
        assert!(refused(&format!("1{}", "+1".repeat(500))).contains("words and signs"));
        assert!(refused(&format!("a{{{}}}", r#"b=~".",c!~".","#.repeat(9))).contains("regular expressions"));
        assert!(refused(r#"{a="é"#).contains("parse error"));
        assert!(refused(r#"a{b="\é"}"#).contains("parse error"));
    }

    #[test]
    fn selectors_share_the_bounds_of_one_query() {
        let read =
            |texts: &[&str]| parse_all("match[]", texts).map(|all| all.len()).map_err(|error| format!("{error:?}"));
        assert_eq!(read(&["a", r#"{b=~"."} # c"#, r#"d{e="`"}"#]), Ok(3));
        assert!(read(&[r#"a{b=~"c"}"#; 17]).is_err_and(|error| error.contains("regular expressions")));
        assert!(
            read(&[r#"a # " "#, r#"a{b=~"c"}"#].repeat(17)).is_err_and(|error| error.contains("regular expressions"))
        );
        assert!(read(&["a"; 1001]).is_err_and(|error| error.contains("words and signs")));
        assert!(read(&["a", "b{"]).is_err_and(|error| error.contains("match[]") && error.contains("parse error")));
    }

    #[test]
    fn the_deepest_that_is_let_through_is_read() {
        for query in [
            format!("{}1", "-".repeat(999)),
            format!("1{}", "+1".repeat(499)),
            format!("{}1{}", "(".repeat(499), ")".repeat(499)),
            format!("{}a{}", "sum(".repeat(333), ")".repeat(333)),
        ] {
            // The parser itself bounds parentheses; what counts is that the stack bears it.
            let _ = parse(&query);
        }
        for query in [
            "sum by (é) (a)",
            r#"a{b="é # \" [",c!~"d|e"} # [inf"#,
            "a[5m] offset -1h",
            "a[300]",
            "a @ 1700000000 + 0x1F + 1e-9 + Inf",
            "{__name__=~\"volume.*\"}",
        ] {
            assert!(check(query).is_ok(), "{query}");
        }
        assert!(parse(r#"a{b="é",c=~"ü.*"} # é"#).is_ok());
    }
}
