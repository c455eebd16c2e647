//! Finds values in JSON text that is known to be JSON, by pointer or one after the other.
//!
//! The daemon has checked the body when it cut `msg` out of it, so nothing is checked here a second time: what is not
//! asked for is skipped eight bytes at a time, and nothing is read behind the last that was. On text that is not JSON the
//! answers mean nothing; it never panics. Of two equal keys in an object, which no publisher makes, the first counts.

use std::borrow::Cow;

use statscache_plugin_sdk::Json;

/// Values found in a text, by slot of its [`Pointers`].
pub(crate) type Slots<'s, 'm> = &'s [Option<&'m str>];

/// Slots that need no allocation.
const FEW: usize = 24;

/// JSON pointers, each with a slot, as a tree of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Pointers {
    nodes: Vec<Node>,
    slots: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(String, usize)>,
}

/// The values found so far, and how many are not.
struct Search<'s, 'm> {
    slots: &'s mut [Option<&'m str>],
    missing: usize,
}

impl Default for Pointers {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], slots: 0 }
    }
}

impl Pointers {
    /// The slot of this pointer, the same for the same pointer. Its text is trusted to be one.
    pub(crate) fn insert(&mut self, pointer: &str) -> usize {
        let mut at = 0;
        for word in pointer.split('/').skip(1) {
            let word = word.replace("~1", "/").replace("~0", "~");
            let known = self.nodes[at].children.iter().find(|(key, _)| *key == word).map(|(_, child)| *child);
            at = known.unwrap_or_else(|| {
                self.nodes.push(Node::default());
                let child = self.nodes.len() - 1;
                self.nodes[at].children.push((word, child));
                child
            });
        }
        if let Some(slot) = self.nodes[at].slot {
            return slot;
        }
        let slot = self.slots;
        self.slots += 1;
        self.nodes[at].slot = Some(slot);
        slot
    }

    /// Finds the values of all pointers in one pass and shows them to `read`.
    pub(crate) fn find<'m, T>(&self, text: &'m str, read: impl FnOnce(Slots<'_, 'm>) -> T) -> T {
        let (mut few, mut many) = ([None; FEW], Vec::new());
        let slots = match self.slots {
            len @ ..=FEW => &mut few[..len],
            len => {
                many.resize(len, None);
                &mut many[..]
            }
        };
        if !slots.is_empty() {
            let mut search = Search { missing: slots.len(), slots };
            self.value(&self.nodes[0], Scanner { text, at: 0 }, &mut search);
        }
        read(slots)
    }

    /// Reads the value that begins here; gives the place behind it, unless the search is over.
    fn value<'m>(&self, node: &Node, begin: Scanner<'m>, search: &mut Search<'_, 'm>) -> Scanner<'m> {
        let begin = begin.behind_blanks();
        if let Some(slot) = node.slot
            && search.slots[slot].is_none()
        {
            search.slots[slot] = Some(begin.up_to(&begin.behind_value()));
            search.missing -= 1;
        }
        match begin.byte() {
            Some(b'{' | b'[') if !node.children.is_empty() => self.children(node, begin, search),
            _ => begin.behind_value(),
        }
    }

    fn children<'m>(&self, node: &Node, begin: Scanner<'m>, search: &mut Search<'_, 'm>) -> Scanner<'m> {
        let mut members = Members::new(begin);
        while search.missing > 0
            && let Some(key) = members.next_key()
        {
            members.scanner = match key.find(&node.children) {
                Some(child) => self.value(&self.nodes[child], members.scanner, search),
                None => members.scanner.behind_blanks().behind_value(),
            };
        }
        members.scanner
    }
}

/// Shows the elements of a list, with empty keys, or the values of an object, with theirs. Nothing of anything else.
pub(crate) fn each<'m>(raw: &'m str, show: &mut dyn FnMut(Cow<'m, str>, &'m str)) {
    if !raw.starts_with(['[', '{']) {
        return;
    }
    let mut members = Members::new(Scanner { text: raw, at: 0 });
    while let Some(key) = members.next_key() {
        let begin = members.scanner.behind_blanks();
        members.scanner = begin.behind_value();
        show(key.text(), begin.up_to(&members.scanner));
    }
}

/// Goes through a list or an object.
struct Members<'m> {
    scanner: Scanner<'m>,
    is_object: bool,
    position: usize,
}

/// What leads to a member.
enum Key<'m> {
    /// A string without escapes, without its quotes.
    Plain(&'m str),
    /// A string with escapes, with its quotes.
    Escaped(&'m str),
    Position(usize),
}

impl<'m> Members<'m> {
    /// At the opening bracket.
    fn new(begin: Scanner<'m>) -> Self {
        Self { scanner: begin.behind(1), is_object: begin.byte() == Some(b'{'), position: 0 }
    }

    /// The key of the next member, whose value follows; at the end the scanner is behind the closing bracket.
    fn next_key(&mut self) -> Option<Key<'m>> {
        let mut scanner = self.scanner.behind_blanks();
        if scanner.byte() == Some(b',') {
            scanner = scanner.behind(1).behind_blanks();
        }
        self.scanner = scanner;
        match scanner.byte()? {
            b']' | b'}' => {
                self.scanner = scanner.behind(1);
                None
            }
            b'"' if self.is_object => {
                let (end, is_escaped) = scanner.behind_string();
                self.scanner = end.behind_blanks().behind(1);
                let raw = scanner.up_to(&end);
                let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
                Some(if is_escaped { Key::Escaped(raw) } else { Key::Plain(inner) })
            }
            _ if self.is_object => None,
            _ => {
                self.position += 1;
                Some(Key::Position(self.position - 1))
            }
        }
    }
}

impl<'m> Key<'m> {
    /// The child that it leads to.
    fn find(&self, children: &[(String, usize)]) -> Option<usize> {
        let by_text = |text: &str| children.iter().find(|(name, _)| name == text).map(|(_, child)| *child);
        match self {
            Self::Plain(name) => by_text(name),
            Self::Escaped(_) => by_text(&self.text()),
            Self::Position(position) => {
                let is_it =
                    |name: &str| name.parse() == Ok(*position) && (name == "0" || !name.starts_with(['0', '+']));
                children.iter().find(|(name, _)| is_it(name)).map(|(_, child)| *child)
            }
        }
    }

    fn text(&self) -> Cow<'m, str> {
        match self {
            Self::Plain(name) => Cow::Borrowed(name),
            Self::Escaped(raw) => Json::from_raw(raw).as_str().unwrap_or_default(),
            Self::Position(_) => Cow::Borrowed(""),
        }
    }
}

/// A place in a text.
#[derive(Clone, Copy)]
struct Scanner<'m> {
    text: &'m str,
    at: usize,
}

impl<'m> Scanner<'m> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn behind(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }
    }

    fn up_to(&self, end: &Self) -> &'m str {
        self.text.get(self.at..end.at).unwrap_or_default()
    }

    fn behind_blanks(mut self) -> Self {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self
    }

    fn behind_value(self) -> Self {
        match self.byte() {
            Some(b'"') => self.behind_string().0,
            Some(b'{' | b'[') => self.behind_brackets(),
            _ => self.behind_scalar(),
        }
    }

    fn behind_scalar(mut self) -> Self {
        while self.byte().is_some_and(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self
    }

    /// From an opening bracket behind the one that closes it.
    fn behind_brackets(mut self) -> Self {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    self = self.behind_string().0;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        self
    }

    /// From a quote behind the one that ends the string; and whether that has escapes.
    fn behind_string(mut self) -> (Self, bool) {
        let mut is_escaped = false;
        self.at += 1;
        loop {
            while let Some(eight) = self.text.as_bytes().get(self.at..self.at + 8) {
                let hits = special_bytes(eight);
                if hits != 0 {
                    self.at += hits.trailing_zeros() as usize / 8;
                    break;
                }
                self.at += 8;
            }
            match self.byte() {
                Some(b'"') => return (self.behind(1), is_escaped),
                Some(b'\\') => {
                    is_escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return (self, is_escaped),
            }
        }
    }
}

/// The high bit of the first byte that is a quote or a backslash, at least; 0 where none is. The usual test for a zero
/// byte in a word (Hacker's Delight, 6-1), of which only bits above the first true one can be wrong.
fn special_bytes(eight: &[u8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut bytes = [0; 8];
    bytes.copy_from_slice(eight);
    let word = u64::from_le_bytes(bytes);
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')))
}

#[cfg(test)]
mod tests;
