//! JSON that is read: a [`Document`] is parsed once, and its [`Value`]s look into it.

use std::borrow::Cow;

/// What sort of JSON a [`Value`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is not there.
    Missing,
    /// null
    Null,
    /// true or false
    Bool,
    /// A number.
    Number,
    /// A string.
    Text,
    /// An array.
    Array,
    /// An object.
    Map,
}

/// How deep arrays and objects may lie within each other. The host allows less.
const MAX_DEPTH: u32 = 128;

/// A value, or a member's name: where its text lies, and where the next one after it begins, so
/// that a reader can step over whole subtrees.
struct Node {
    start: u32,
    end: u32,
    next: u32,
    kind: Kind,
    escaped: bool,
}

/// A parsed JSON text.
pub struct Document {
    text: String,
    nodes: Vec<Node>,
}

impl Document {
    /// Reads one JSON value (RFC 8259) and nothing after it. The error says where it stops being
    /// JSON.
    pub fn parse(text: String) -> Result<Document, String> {
        let mut p = Parser { text: text.as_bytes(), nodes: Vec::with_capacity(8 + text.len() / 9), at: 0 };
        p.space();
        let read = p.value(0).and_then(|()| {
            p.space();
            if p.at == p.text.len() {
                Ok(())
            } else {
                Err("more after the value")
            }
        });
        let (at, nodes) = (p.at, p.nodes);
        match read {
            Ok(()) => Ok(Document { text, nodes }),
            Err(reason) => Err(format!("not json: {} at byte {}", reason, at)),
        }
    }

    /// The whole of it.
    pub fn value(&self) -> Value<'_> {
        Value { doc: Some(self), at: 0 }
    }
}

/// One value of a document. Looking into what is not there gives what is not there, so that
/// `v.get("a").get("b").text()` needs no check on the way.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    doc: Option<&'a Document>,
    at: u32,
}

impl<'a> Value<'a> {
    /// What is not there.
    pub const MISSING: Value<'static> = Value { doc: None, at: 0 };

    fn node(&self) -> Option<(&'a Document, &'a Node)> {
        self.doc.map(|d| (d, &d.nodes[self.at as usize]))
    }
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.node().map_or(Kind::Missing, |(_, n)| n.kind)
    }
    /// Says that it is there. A null is.
    pub fn exists(&self) -> bool {
        self.doc.is_some()
    }
    /// Its own text; empty when it is not there.
    pub fn json(&self) -> &'a str {
        self.node().map_or("", |(d, n)| &d.text[n.start as usize..n.end as usize])
    }
    /// A string's text; empty for anything else.
    pub fn text(&self) -> Cow<'a, str> {
        match self.node() {
            Some((d, n)) if n.kind == Kind::Text => inside(d, n),
            _ => Cow::Borrowed(""),
        }
    }
    /// Says that it is the literal true.
    pub fn bool(&self) -> bool {
        self.kind() == Kind::Bool && self.json() == "true"
    }
    /// A whole number that fits; nothing for anything else.
    pub fn int(&self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        self.json().parse().ok()
    }
    /// An object's member, the first of its name.
    pub fn get(&self, name: &str) -> Value<'a> {
        self.members().find(|(n, _)| n == name).map_or(Value::MISSING, |(_, v)| v)
    }
    /// An object's members in order; none of anything else.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        let mut steps = self.steps(Kind::Map);
        std::iter::from_fn(move || {
            let (doc, name) = steps.next()?;
            let value = steps.next()?.1;
            Some((inside(doc, &doc.nodes[name as usize]), Value { doc: Some(doc), at: value }))
        })
    }
    /// An array's elements in order; none of anything else.
    pub fn elements(&self) -> impl Iterator<Item = Value<'a>> {
        self.steps(Kind::Array).map(|(doc, at)| Value { doc: Some(doc), at })
    }
    /// The strings of an array, other elements left out.
    pub fn texts(&self) -> Vec<Cow<'a, str>> {
        self.elements().filter(|e| e.kind() == Kind::Text).map(|e| e.text()).collect()
    }

    /// The nodes within an object or array: of an object, names and values in turn.
    fn steps(&self, kind: Kind) -> impl Iterator<Item = (&'a Document, u32)> {
        let (mut at, end) = match self.node() {
            Some((_, n)) if n.kind == kind => (self.at + 1, n.next),
            _ => (0, 0),
        };
        let doc = self.doc;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let (doc, here) = (doc?, at);
            at = doc.nodes[at as usize].next;
            Some((doc, here))
        })
    }
}

fn inside<'a>(doc: &'a Document, n: &Node) -> Cow<'a, str> {
    let s = &doc.text[n.start as usize + 1..n.end as usize - 1];
    if n.escaped {
        return Cow::Owned(unescape(s));
    }
    Cow::Borrowed(s)
}

struct Parser<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
    at: usize,
}

type Step = Result<(), &'static str>;

impl Parser<'_> {
    /// The byte at hand, or 0 at the end: no JSON token begins with 0.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }
    fn value(&mut self, depth: u32) -> Step {
        if depth > MAX_DEPTH {
            return Err("too deep");
        }
        let (me, start) = (self.nodes.len(), self.at as u32);
        self.nodes.push(Node { start, end: 0, next: 0, kind: Kind::Missing, escaped: false });
        let (mut kind, mut escaped) = (Kind::Bool, false);
        match self.peek() {
            b'"' => {
                kind = Kind::Text;
                escaped = self.string()?;
            }
            b'{' => {
                kind = Kind::Map;
                self.all(b'}', depth, true)?;
            }
            b'[' => {
                kind = Kind::Array;
                self.all(b']', depth, false)?;
            }
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => {
                kind = Kind::Null;
                self.word("null")?;
            }
            b'-' | b'0'..=b'9' => {
                kind = Kind::Number;
                self.number()?;
            }
            _ if self.at == self.text.len() => return Err("unexpected end"),
            _ => return Err("unexpected character"),
        }
        let next = self.nodes.len() as u32;
        let n = &mut self.nodes[me];
        n.kind = kind;
        n.escaped = escaped;
        n.end = self.at as u32;
        n.next = next;
        Ok(())
    }
    /// What stands between brackets: values, each behind its name where there are names.
    fn all(&mut self, end: u8, depth: u32, named: bool) -> Step {
        self.at += 1;
        self.space();
        if self.peek() == end {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            if named {
                self.name()?;
            }
            self.value(depth + 1)?;
            self.space();
            let c = self.peek();
            if c != b',' && c != end {
                return Err("',' or an end expected");
            }
            self.at += 1;
            if c == end {
                return Ok(());
            }
        }
    }
    fn name(&mut self) -> Step {
        if self.peek() != b'"' {
            return Err("a member's name expected");
        }
        let (start, next) = (self.at as u32, self.nodes.len() as u32 + 1);
        let escaped = self.string()?;
        self.nodes.push(Node { start, end: self.at as u32, next, kind: Kind::Text, escaped });
        self.space();
        if self.peek() != b':' {
            return Err("':' expected");
        }
        self.at += 1;
        self.space();
        Ok(())
    }
    fn word(&mut self, word: &str) -> Step {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err("unexpected character");
        }
        self.at += word.len();
        Ok(())
    }
    fn digits(&mut self) -> Step {
        let from = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == from {
            return Err("a digit expected");
        }
        Ok(())
    }
    fn number(&mut self) -> Step {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }
    /// Steps over a string, and says whether it holds escapes.
    fn string(&mut self) -> Result<bool, &'static str> {
        let mut escaped = false;
        let mut i = self.at + 1;
        while let Some(&c) = self.text.get(i) {
            i += 1;
            match c {
                b'"' => {
                    self.at = i;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    match self.text.get(i) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => i += 1,
                        Some(b'u') if hex4(self.text, i + 1).is_some() => i += 5,
                        _ => return Err("unknown escape"),
                    }
                }
                0..=0x1f => return Err("a control character in a string"),
                _ => {}
            }
        }
        self.at = i;
        Err("unexpected end in a string")
    }
}

fn hex4(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4)?.iter().try_fold(0, |r, &c| Some(r << 4 | (c as char).to_digit(16)?))
}

/// The text of the inside of a JSON string. Half a surrogate pair becomes U+FFFD. On anything else
/// the result is a piece of it, and never a panic.
pub(crate) fn unescape(s: &str) -> String {
    let b = s.as_bytes();
    let mut out = String::with_capacity(s.len());
    let mut i = 0;
    while let Some(rest) = s.get(i..) {
        let n = rest.find('\\').unwrap_or(rest.len());
        out += &rest[..n];
        if n == rest.len() {
            break;
        }
        i += n + 2;
        match b.get(i - 1) {
            Some(b'n') => out.push('\n'),
            Some(b'r') => out.push('\r'),
            Some(b't') => out.push('\t'),
            Some(b'b') => out.push('\u{8}'),
            Some(b'f') => out.push('\u{c}'),
            Some(b'u') => {
                let mut u = hex4(b, i).unwrap_or(0xfffd);
                i += 4;
                if (0xd800..0xdc00).contains(&u) && b.get(i..i + 2) == Some(b"\\u") {
                    if let Some(low) = hex4(b, i + 2).filter(|low| (0xdc00..0xe000).contains(low)) {
                        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
                        i += 6;
                    }
                }
                out.push(char::from_u32(u).unwrap_or('\u{fffd}'));
            }
            Some(&c) => out.push(c as char),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found() {
        let d = Document::parse(r#" {"a":{"b":[1,"x\n",{}]},"\u0061b":"é","n":-12,"t":true,"z":null,"f":1.5} "#.into()).unwrap();
        let v = d.value();
        assert_eq!(v.get("a").get("b").elements().map(|e| e.json()).collect::<Vec<_>>(), ["1", r#""x\n""#, "{}"]);
        assert_eq!(v.get("a").get("b").texts(), ["x\n"]);
        assert_eq!((v.get("ab").text().as_ref(), v.get("n").int(), v.get("f").int(), v.get("t").bool()), ("é", Some(-12), None, true));
        assert_eq!((v.get("z").kind(), v.get("no").get("way").kind()), (Kind::Null, Kind::Missing));
        assert_eq!(v.members().map(|(n, _)| n).collect::<Vec<_>>(), ["a", "ab", "n", "t", "z", "f"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for bad in ["", "{", "[1,]", "{\"a\":1,}", "01", "1.", "tru", "\"\\x\"", "\"\\u12\"", "\"\u{1}\"", "{} {}", "{\"a\" 1}", "-", "1e"] {
            assert!(Document::parse(bad.into()).is_err(), "{}", bad);
        }
        assert!(Document::parse("[".repeat(200) + &"]".repeat(200)).is_err());
    }

    #[test]
    fn halves_of_pairs_are_replaced() {
        for (s, want) in [(r"\ud83d\ude00", "😀"), (r"\ud83d", "\u{fffd}"), (r"\ud83dx\ude00", "\u{fffd}x\u{fffd}"), (r"\ud83d\n", "\u{fffd}\n")] {
            assert_eq!(unescape(s), want);
        }
    }
}
