//! Python writes `NaN`, `Infinity` and `-Infinity`, which are legal on this bus and no JSON.

const TOKENS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// The text with what `with` says in place of each of the three. `None` if there are none.
pub fn replaced(text: &str, with: impl Fn(&'static str) -> &'static str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut repaired = String::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'N' | b'I' | b'-' if !in_string => {
                if let Some(token) = TOKENS.iter().find(|token| bytes[at..].starts_with(token.as_bytes())) {
                    repaired.push_str(&text[copied..at]);
                    repaired.push_str(with(token));
                    at += token.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    (copied > 0).then(|| repaired + &text[copied..])
}
