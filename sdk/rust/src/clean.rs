//! Strangers' texts, made safe to show: the same rules as in the SDK for Go, in its clean.go.

/// Makes a stranger's text safe to show: control characters, marks that turn the direction of
/// text, and invisible characters that can carry hidden words are gone; every kind of line break
/// is a newline; tabs stay. What is over `max_bytes` is cut between characters, and the number says
/// how many bytes of the cleaned text are missing.
pub fn clean(s: &str, max_bytes: usize) -> (String, usize) {
    let mut out = String::with_capacity(s.len().min(max_bytes.saturating_add(4)));
    let (mut cut, mut rest) = (0, s);
    while !rest.is_empty() {
        let n = plain(rest);
        if n > 0 {
            let fits = if cut == 0 { n.min(max_bytes.saturating_sub(out.len())) } else { 0 };
            out += &rest[..fits];
            cut += n - fits;
            rest = &rest[n..];
            continue;
        }
        let mut c = rest.chars().next().unwrap_or_default();
        rest = &rest[c.len_utf8()..];
        if c == '\r' {
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
        if matches!(c, '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}') {
            c = '\n';
        }
        if hidden(c) || joiner(c) && !joins(out.chars().next_back(), rest) {
            continue;
        }
        if cut > 0 || out.len() + c.len_utf8() > max_bytes {
            cut += c.len_utf8();
            continue;
        }
        out.push(c);
    }
    (out, cut)
}

/// How many bytes at the beginning are ASCII that shows: most texts are little else.
fn plain(s: &str) -> usize {
    s.bytes().position(|c| !(b' '..0x7f).contains(&c)).unwrap_or(s.len())
}

/// Says that a character only tells its neighbours whether to join.
fn joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Says that a joiner stands within a word of a script that has joiners, or within an emoji.
fn joins(before: Option<char>, rest: &str) -> bool {
    let after = rest.chars().find(|&c| !hidden(c)); // what shows nothing will be gone
    before.map_or(false, joined) && after.map_or(false, joined)
}

fn joined(c: char) -> bool {
    matches!(c,
        '\u{600}'..='\u{1aaf}' // Arabic, the scripts of India and South-East Asia, Mongolian
        | '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' // arrows, symbols, emoji
        | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}') // forms of Arabic
}

/// Says that a character shows nothing and may carry what people do not see.
fn hidden(c: char) -> bool {
    if matches!(c, '\n' | '\t') {
        return false;
    }
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' // C0, DEL, C1
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{feff}' // soft hyphen, grapheme joiner, bidi mark, byte order mark
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2800}' // fillers of Hangul, the blank Braille pattern
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' // Khmer's inherent vowels, Mongolian selectors
        | '\u{200b}' | '\u{200e}' | '\u{200f}' // zero width space, bidi marks
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // bidi overrides and isolates, invisible operators
        | '\u{fe00}'..='\u{fe0f}' // variation selectors
        | '\u{fff0}'..='\u{fffb}' // interlinear annotation
        | '\u{13430}'..='\u{1345f}' // joins and blanks of hieroglyphs
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' // controls of shorthand and of music
        | '\u{e0000}'..='\u{e0fff}') // tags and supplementary variation selectors
}

/// Is [`clean`] on one line: runs of spaces, tabs and newlines become one space, and a cut is marked
/// with an ellipsis. No marks of a [`fence`] are left in it.
pub fn line(s: &str, max_bytes: usize) -> String {
    let (text, cut) = clean(s, max_bytes);
    let mut one = String::with_capacity(text.len() + 3);
    for c in text.chars() {
        if !matches!(c, ' ' | '\n' | '\t') {
            one.push(c);
        } else if !one.is_empty() && !one.ends_with(' ') {
            one.push(' ');
        }
    }
    one.truncate(one.trim_end_matches(' ').len());
    if cut > 0 {
        one.push('…');
    }
    let mut out = String::with_capacity(one.len());
    unmark(&mut out, &one);
    out
}

/// Puts a stranger's text between two marks that name what it is and carry an id, which the
/// stranger must not know beforehand: an event's id is right. The text is cleaned and cannot hold
/// a mark.
pub fn fence(id: &str, what: &str, s: &str, max_bytes: usize) -> String {
    let (text, cut) = clean(s, max_bytes);
    let mut out = String::with_capacity(text.len() + 2 * (what.len() + id.len()) + 64);
    for part in ["<<<", what, " ", id, ">>>\n"] {
        out += part;
    }
    unmark(&mut out, &text);
    if cut > 0 {
        out += &format!("\n… cut here, {} bytes more", cut);
    }
    for part in ["\n<<<END ", what, " ", id, ">>>"] {
        out += part;
    }
    out
}

/// Appends a text with a space where three marks of one side, or what looks like them, would stand
/// together.
fn unmark(out: &mut String, text: &str) {
    let (mut side, mut run) = ('\0', 0);
    for c in text.chars() {
        let (of, n) = mark(c);
        if n == 0 || of != side {
            run = 0;
        } else if run + n > 2 {
            out.push(' ');
            run = 0;
        }
        side = of;
        run += n;
        if n > 2 { // one character that is three
            for part in [of, of, ' ', of] {
                out.push(part);
            }
            run = 1;
            continue;
        }
        out.push(c);
    }
}

/// Which side a character could be a mark of, and how many marks it looks like.
fn mark(c: char) -> (char, usize) {
    match c {
        '<' | '\u{ff1c}' | '\u{fe64}' | '\u{2039}' | '\u{2329}' | '\u{3008}' | '\u{27e8}' | '\u{276e}' | '\u{276c}' | '\u{2770}' | '\u{2c2}' | '\u{1438}'
        | '\u{29fc}' | '\u{2991}' | '\u{227a}' | '\u{16b2}' | '\u{1d236}' => ('<', 1),
        '>' | '\u{ff1e}' | '\u{fe65}' | '\u{203a}' | '\u{232a}' | '\u{3009}' | '\u{27e9}' | '\u{276f}' | '\u{276d}' | '\u{2771}' | '\u{2c3}' | '\u{1433}'
        | '\u{29fd}' | '\u{2992}' | '\u{227b}' | '\u{16f3f}' | '\u{1d237}' => ('>', 1),
        '\u{ab}' | '\u{300a}' | '\u{27ea}' | '\u{226a}' | '\u{2a9d}' | '\u{2aa1}' | '\u{2abb}' => ('<', 2),
        '\u{bb}' | '\u{300b}' | '\u{27eb}' | '\u{226b}' | '\u{2a9e}' | '\u{2aa2}' | '\u{2abc}' => ('>', 2),
        '\u{22d8}' | '\u{2af7}' => ('<', 3),
        '\u{22d9}' | '\u{2af8}' => ('>', 3),
        _ => ('\0', 0),
    }
}
