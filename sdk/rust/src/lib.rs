//! Plugins for an OGP gateway in Rust, without dependencies.
//!
//! A policy about messages is a function from an [`Input`] to a [`Decision`]:
//!
//! ```ignore
//! ogp::on_message!(decide);
//!
//! fn decide(m: &ogp::Input) -> ogp::Decision {
//!     match m.int("message.textBytes") {
//!         Some(bytes) if bytes <= 4096 => ogp::Decision::allow(),
//!         _ => ogp::Decision::deny("too_big", "at most 4096 bytes, please"),
//!     }
//! }
//! ```
//!
//! One about strangers' requests answers with an [`Approval`]: [`on_request!`].
//!
//! The input is not parsed: [`Input::get`] asks the host for one member by its dotted path.
//! The boundary is described in ABI.md. Natively, as in `cargo test`, [`testing`] is the host.

use std::fmt::Write;

#[cfg(target_arch = "wasm32")]
mod host {
    #[link(wasm_import_module = "ogp_v1")]
    extern "C" {
        fn read(dst: *mut u8);
        fn write(src: *const u8, len: u32);
        fn get(key: *const u8, len: u32) -> i32;
        fn call(op: *const u8, oplen: u32, req: *const u8, reqlen: u32) -> i32;
        fn log(level: u32, msg: *const u8, len: u32);
    }

    // The host copies exactly the n bytes that it announced, and keeps no pointer.
    fn pending(n: i32) -> String {
        let mut b = vec![0u8; n as usize];
        if n > 0 {
            unsafe { read(b.as_mut_ptr()) };
        }
        String::from_utf8_lossy(&b).into_owned()
    }
    pub fn input_get(key: &str) -> Option<String> {
        let n = unsafe { get(key.as_ptr(), key.len() as u32) };
        if n < 0 {
            return None;
        }
        Some(pending(n))
    }
    pub fn operate(op: &str, req: &str) -> Result<String, i32> {
        let n = unsafe { call(op.as_ptr(), op.len() as u32, req.as_ptr(), req.len() as u32) };
        if n < 0 {
            return Err(n);
        }
        Ok(pending(n))
    }
    pub fn output(text: &str) {
        unsafe { write(text.as_ptr(), text.len() as u32) }
    }
    pub fn line(level: u32, text: &str) {
        unsafe { log(level, text.as_ptr(), text.len() as u32) }
    }
}

#[cfg(not(target_arch = "wasm32"))]
use testing as host;

/// What a hook is asked, as the host holds it.
pub struct Input(());

impl Input {
    /// The member at a dotted path, such as `peer.alias` or `message.payload.text`: a string as
    /// its text, a number as written, a list of strings joined by newlines, else its JSON.
    pub fn get(&self, path: &str) -> Option<String> {
        host::input_get(path)
    }
    /// The member as text, empty when it is not there.
    pub fn text(&self, path: &str) -> String {
        self.get(path).unwrap_or_default()
    }
    /// The member as a whole number. Refuse when there is none: what cannot be read is no
    /// proof that it is small.
    pub fn int(&self, path: &str) -> Option<i64> {
        self.get(path).and_then(|s| s.parse().ok())
    }
    /// A list of strings.
    pub fn list(&self, path: &str) -> Vec<String> {
        lines(self.get(path))
    }
}

fn lines(text: Option<String>) -> Vec<String> {
    match text {
        Some(s) if !s.is_empty() => s.split('\n').map(String::from).collect(),
        _ => Vec::new(),
    }
}

/// A member of the plugin's configuration.
pub fn config(name: &str) -> Option<String> {
    host::input_get(&format!("config.{}", name))
}

/// A whole number of the plugin's configuration.
pub fn config_int(name: &str) -> Option<i64> {
    config(name).and_then(|s| s.parse().ok())
}

/// A list of strings of the plugin's configuration.
pub fn config_list(name: &str) -> Vec<String> {
    lines(config(name))
}

fn verdict(decision: &str, because: Option<(&str, &str)>) -> Object {
    let mut o = Object::new();
    o.text("decision", decision);
    if let Some((code, reason)) = because {
        o.text("code", code).text("reason", reason);
    }
    o
}

/// A policy's answer to a message.
pub struct Decision(Object);

impl Decision {
    /// Lets the message pass, as far as this policy minds.
    pub fn allow() -> Decision {
        Decision(verdict("allow", None))
    }
    /// Refuses it. The code is for programs, the reason for people; both reach the peer.
    pub fn deny(code: &str, reason: &str) -> Decision {
        Decision(verdict("deny", Some((code, reason))))
    }
    /// Keeps it for the human; the agent does not hear of it.
    pub fn hold(code: &str, reason: &str) -> Decision {
        Decision(verdict("hold", Some((code, reason))))
    }
    /// Has no opinion.
    pub fn abstain() -> Decision {
        Decision(verdict("abstain", None))
    }
}

/// A policy's answer to a stranger's request to federate.
pub struct Approval(Object);

impl Approval {
    /// Makes the stranger a peer, for these intents, at a rate of requests in seconds. It
    /// needs `approves = true` in plugin.toml and the operator's grant; without them it says
    /// nothing, and the grants are cut to what the operator allows. With no intents it
    /// approves nobody: the request waits for the human.
    pub fn approve(intents: &[&str], requests: i64, window_seconds: i64) -> Approval {
        Approval::approve_sized(intents, requests, window_seconds, 0, 0)
    }
    /// Is `approve` with so many bytes of payload in `size_seconds` for each intent; 0 means
    /// the default.
    pub fn approve_sized(intents: &[&str], requests: i64, window_seconds: i64, bytes: i64, size_seconds: i64) -> Approval {
        let mut list = String::from("[");
        for intent in intents {
            let (mut grant, mut rate) = (Object::new(), Object::new());
            rate.int("requests", requests).int("windowSeconds", window_seconds);
            grant.text("intent", intent).raw("enabled", "true").raw("rateLimit", &rate.json());
            if bytes > 0 && size_seconds > 0 {
                let mut size = Object::new();
                size.int("bytes", bytes).int("windowSeconds", size_seconds);
                grant.raw("byteLimit", &size.json());
            }
            if list.len() > 1 {
                list.push(',');
            }
            list += &grant.json();
        }
        let mut o = verdict("allow", None);
        o.raw("grants", &(list + "]"));
        Approval(o)
    }
    /// Turns the asker away.
    pub fn reject(code: &str, reason: &str) -> Approval {
        Approval(verdict("deny", Some((code, reason))))
    }
    /// Leaves the request to the human.
    pub fn wait(code: &str, reason: &str) -> Approval {
        Approval(verdict("hold", Some((code, reason))))
    }
    /// Leaves it to the other policies, and then to the human.
    pub fn no_opinion() -> Approval {
        Approval(verdict("abstain", None))
    }
}

/// A notifier's answer.
pub struct Outcome(Object);

impl Outcome {
    /// The event arrived.
    pub fn delivered() -> Outcome {
        Outcome::of("delivered", "")
    }
    /// The event, a message, arrived, and this is its answer: our gateway signs the text and
    /// sends it to the peer, once. It needs replies = true in plugin.toml and the operator's
    /// grant; without them the event counts as delivered, and nothing is sent.
    pub fn answered(text: &str) -> Outcome {
        let mut reply = Object::new();
        reply.text("text", text);
        Outcome::with_reply(reply)
    }
    /// `answered` with data.
    pub fn answered_with(data: Object) -> Outcome {
        let mut reply = Object::new();
        reply.raw("data", &data.json());
        Outcome::with_reply(reply)
    }
    /// `answered` for what cannot be done. The text reaches the peer.
    pub fn answered_no(why: &str) -> Outcome {
        let mut reply = Object::new();
        reply.text("error", why);
        Outcome::with_reply(reply)
    }
    fn with_reply(reply: Object) -> Outcome {
        let mut o = Outcome::delivered();
        o.0.raw("reply", &reply.json());
        o
    }
    /// The event was taken and is not done with: it comes again after some seconds, or when the
    /// host sees fit (0). It is no failure, and holds up no other event.
    pub fn working(after_seconds: i64, detail: &str) -> Outcome {
        let mut o = Outcome::of("working", detail);
        o.0.int("retryAfterSeconds", after_seconds);
        o
    }
    /// Another attempt is wanted, after some seconds or when the host sees fit (0).
    pub fn retry(after_seconds: i64, detail: &str) -> Outcome {
        let mut o = Outcome::of("retry", detail);
        o.0.int("retryAfterSeconds", after_seconds);
        o
    }
    /// Nothing can be told until the operator has changed something, which the detail names:
    /// a token, a URL, a grant. What is owed waits, and loses nothing by it.
    pub fn setup(detail: &str) -> Outcome {
        Outcome::of("setup", detail)
    }
    /// This event alone cannot be told, however often it is tried; the detail names the
    /// remedy.
    pub fn failed(detail: &str) -> Outcome {
        Outcome::of("failed", detail)
    }
    fn of(status: &str, detail: &str) -> Outcome {
        let mut o = Object::new();
        o.text("status", status).text("detail", detail);
        Outcome(o)
    }
}

/// A handler's answer.
pub enum Answer {
    /// Data for the peer.
    Reply(Object),
    /// It cannot be done; the text reaches the peer.
    Error(String),
    /// The next handler, or the default.
    NotMine,
}

/// Makes a function `fn(&ogp::Input) -> ogp::Decision` decide about messages.
#[macro_export]
macro_rules! on_message {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_message(_len: i32) -> i32 {
            let f: fn(&$crate::Input) -> $crate::Decision = $f;
            $crate::run(|r| $crate::Finished::from(f(r)))
        }
    };
}

/// Makes a function `fn(&ogp::Input) -> ogp::Approval` decide about strangers' requests.
#[macro_export]
macro_rules! on_request {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_request(_len: i32) -> i32 {
            let f: fn(&$crate::Input) -> $crate::Approval = $f;
            $crate::run(|r| $crate::Finished::from(f(r)))
        }
    };
}

/// Makes a function `fn(&ogp::Input) -> ogp::Outcome` this module's notifier.
#[macro_export]
macro_rules! notify {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_notify(_len: i32) -> i32 {
            $crate::run(|r| $crate::Finished::from($f(r)))
        }
    };
}

/// Makes a function `fn(&ogp::Input) -> ogp::Answer` this module's handler.
#[macro_export]
macro_rules! handle {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_handle(_len: i32) -> i32 {
            $crate::run(|r| $crate::Finished::from($f(r)))
        }
    };
}

/// Calls a function `fn() -> Result<(), String>` when an instance starts; an error refuses to
/// load the plugin, with its text for the operator.
#[macro_export]
macro_rules! init {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_init(_len: i32) -> i32 {
            $crate::start($f)
        }
    };
}

#[doc(hidden)]
pub struct Finished(String, i32);

impl From<Decision> for Finished {
    fn from(d: Decision) -> Self {
        Finished(d.0.json(), 0)
    }
}
impl From<Approval> for Finished {
    fn from(a: Approval) -> Self {
        Finished(a.0.json(), 0)
    }
}
impl From<Outcome> for Finished {
    fn from(o: Outcome) -> Self {
        Finished(o.0.json(), 0)
    }
}
impl From<Answer> for Finished {
    fn from(a: Answer) -> Self {
        let mut o = Object::new();
        match a {
            Answer::Reply(data) => o.text("status", "ok").raw("data", &data.json()),
            Answer::Error(text) => o.text("status", "error").text("error", &text),
            Answer::NotMine => return Finished(String::new(), -1),
        };
        Finished(o.json(), 0)
    }
}

#[doc(hidden)]
pub fn run(f: impl FnOnce(&Input) -> Finished) -> i32 {
    tell_panics();
    let Finished(out, status) = f(&Input(()));
    host::output(&out);
    status
}

#[doc(hidden)]
pub fn start(f: impl FnOnce() -> Result<(), String>) -> i32 {
    tell_panics();
    match f() {
        Ok(()) => 0,
        Err(text) => {
            host::output(&text);
            1
        }
    }
}

// A panic traps, and its text would be lost: there is no stderr on this target.
fn tell_panics() {
    #[cfg(target_arch = "wasm32")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|p| {
                let text = p.payload().downcast_ref::<&str>().copied().unwrap_or("panic");
                log(3, text)
            }))
        });
    }
}

/// Why the host refused an operation.
#[derive(Debug)]
pub struct CallError {
    /// -1 unknown, -2 not granted, -3 bad request, -4 failed, -5 over a limit.
    pub code: i32,
    /// For the log and the operator.
    pub text: String,
}

/// Calls an operation of the host by name, with and for JSON: ABI.md lists them.
pub fn call(op: &str, request: &Object) -> Result<String, CallError> {
    host::operate(op, &request.json()).map_err(|code| CallError { code, text: host::input_get("error").unwrap_or_default() })
}

/// Reads a key of the plugin's own store.
pub fn kv_get(key: &str) -> Result<Option<String>, CallError> {
    let mut o = Object::new();
    o.text("key", key);
    Ok(json_get(&call("kv.get", &o)?, "value"))
}

/// Writes a key.
pub fn kv_set(key: &str, value: &str) -> Result<(), CallError> {
    let mut o = Object::new();
    o.text("key", key).text("value", value);
    call("kv.set", &o).map(|_| ())
}

/// Makes an HTTP request through the host, to a URL that the operator granted, and gives status
/// and body. A header's value may hold `{secret:name}`, which the host fills in.
pub fn http(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<(i64, String), CallError> {
    let (mut o, mut h) = (Object::new(), Object::new());
    for (name, value) in headers {
        h.text(name, value);
    }
    o.text("method", method).text("url", url).raw("headers", &h.json()).text("body", body);
    let res = call("http.request", &o)?;
    let status = json_get(&res, "status").and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok((status, json_get(&res, "body").unwrap_or_default()))
}

/// Writes a line to the gateway's log: 0 debug, 1 info, 2 warn, 3 error.
pub fn log(level: u32, text: &str) {
    host::line(level, text)
}

/// Writes one JSON object.
#[derive(Default)]
pub struct Object(String);

impl Object {
    /// An empty object.
    pub fn new() -> Object {
        Object::default()
    }
    /// Adds a string.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Object {
        let q = quote(text);
        self.raw(name, &q)
    }
    /// Adds a whole number.
    pub fn int(&mut self, name: &str, n: i64) -> &mut Object {
        self.raw(name, &n.to_string())
    }
    /// Adds what is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Object {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0 += &quote(name);
        self.0.push(':');
        self.0 += json;
        self
    }
    /// The object's text.
    pub fn json(&self) -> String {
        if self.0.is_empty() {
            return "{}".into();
        }
        self.0.clone() + "}"
    }
}

/// Writes a text as a JSON string.
pub fn quote(s: &str) -> String {
    let mut q = String::with_capacity(s.len() + 2);
    q.push('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => {
                q.push('\\');
                q.push(c)
            }
            '\n' => q += "\\n",
            '\r' => q += "\\r",
            '\t' => q += "\\t",
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(q, "\\u{:04x}", c as u32);
            }
            c => q.push(c),
        }
    }
    q.push('"');
    q
}

/// The value at a dotted path of a JSON object, in the manner of [`Input::get`]: for what
/// operations answer. The text is taken to be JSON; on anything else the result is `None` or
/// a piece of it, and never a panic.
pub fn json_get(json: &str, path: &str) -> Option<String> {
    let mut rest = json.trim_start();
    for name in path.split('.') {
        rest = member(rest, name)?;
    }
    let end = skip(rest)?;
    let value = rest.get(..end)?;
    if value == "null" {
        return None;
    }
    if value.starts_with('"') {
        return Some(unquote(value));
    }
    if value.starts_with('[') {
        let mut all: Vec<String> = Vec::new();
        let mut at = value.get(1..)?.trim_start();
        while at.starts_with('"') {
            let end = skip(at)?;
            all.push(unquote(at.get(..end)?));
            at = at.get(end..)?.trim_start().trim_start_matches(',').trim_start();
        }
        if at == "]" {
            return Some(all.join("\n"));
        }
    }
    Some(value.into())
}

fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = json.strip_prefix('{')?.trim_start();
    while rest.starts_with('"') {
        let end = skip(rest)?;
        let key = unquote(rest.get(..end)?);
        rest = rest.get(end..)?.trim_start().strip_prefix(':')?.trim_start();
        if key == name {
            return Some(rest);
        }
        rest = rest.get(skip(rest)?..)?.trim_start().strip_prefix(',')?.trim_start();
    }
    None
}

// skip gives the length of the value that the text begins with.
fn skip(json: &str) -> Option<usize> {
    let (mut depth, mut inside, mut escaped) = (0i32, false, false);
    for (i, c) in json.bytes().enumerate() {
        if inside {
            match c {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => inside = false,
                _ => {}
            }
            if !inside && depth == 0 {
                return Some(i + 1);
            }
            continue;
        }
        match c {
            b'"' => inside = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth == 0 {
                    return Some(i);
                }
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return Some(i),
            _ => {}
        }
    }
    if inside || depth > 0 {
        return None;
    }
    Some(json.len())
}

fn unquote(quoted: &str) -> String {
    let inside = quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or("");
    let (mut s, mut chars) = (String::with_capacity(inside.len()), inside.chars());
    let mut high = 0u32;
    while let Some(c) = chars.next() {
        if c != '\\' {
            s.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => s.push('\n'),
            Some('r') => s.push('\r'),
            Some('t') => s.push('\t'),
            Some('b') => s.push('\u{8}'),
            Some('f') => s.push('\u{c}'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let u = u32::from_str_radix(&hex, 16).unwrap_or(0xfffd);
                if (0xd800..0xdc00).contains(&u) {
                    high = u;
                    continue;
                }
                let mut u = u;
                if (0xdc00..0xe000).contains(&u) && high != 0 {
                    u = 0x10000 + ((high - 0xd800) << 10) + (u - 0xdc00);
                }
                high = 0;
                s.push(char::from_u32(u).unwrap_or('\u{fffd}'));
            }
            Some(c) => s.push(c),
            None => {}
        }
    }
    s
}

/// The host of native tests: one input and one configuration for each thread.
#[cfg(not(target_arch = "wasm32"))]
pub mod testing {
    use std::cell::RefCell;
    thread_local! {
        static INPUT: RefCell<String> = RefCell::default();
        static CONFIG: RefCell<String> = RefCell::default();
        static OUTPUT: RefCell<String> = RefCell::default();
    }
    /// Runs a hook's export over an input and gives its output and status.
    pub fn run(export: extern "C" fn(i32) -> i32, config: &str, input: &str) -> (String, i32) {
        CONFIG.with(|c| *c.borrow_mut() = config.into());
        INPUT.with(|i| *i.borrow_mut() = input.into());
        OUTPUT.with(|o| o.borrow_mut().clear());
        let status = export(input.len() as i32);
        (OUTPUT.with(|o| o.borrow().clone()), status)
    }
    pub(crate) fn input_get(key: &str) -> Option<String> {
        match key.strip_prefix("config.") {
            Some(name) => CONFIG.with(|c| crate::json_get(&c.borrow(), name)),
            None => INPUT.with(|i| crate::json_get(&i.borrow(), key)),
        }
    }
    pub(crate) fn operate(_op: &str, _req: &str) -> Result<String, i32> {
        Err(-2)
    }
    pub(crate) fn output(text: &str) {
        OUTPUT.with(|o| *o.borrow_mut() = text.into())
    }
    pub(crate) fn line(_level: u32, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_go_back() {
        let mut data = Object::new();
        data.int("n", 1);
        for (outcome, want) in [
            (Outcome::answered("at \"nine\""), r#"{"status":"delivered","detail":"","reply":{"text":"at \"nine\""}}"#),
            (Outcome::answered_with(data), r#"{"status":"delivered","detail":"","reply":{"data":{"n":1}}}"#),
            (Outcome::answered_no("no"), r#"{"status":"delivered","detail":"","reply":{"error":"no"}}"#),
            (Outcome::working(3, "it thinks"), r#"{"status":"working","detail":"it thinks","retryAfterSeconds":3}"#),
        ] {
            assert_eq!(outcome.0.json(), want);
        }
    }

    #[test]
    fn json_get_finds_what_is_there() {
        let j = r#"{"a": {"b":[1,{"x":"}"}], "c":"q\"\\\n\u00e9\ud83d\ude00"}, "l":["x","y"], "n":-5, "t":true, "z":null, "e":[]}"#;
        let get = |p| json_get(j, p);
        assert_eq!(get("a.c").unwrap(), "q\"\\\né😀");
        assert_eq!(get("a.b").unwrap(), r#"[1,{"x":"}"}]"#);
        assert_eq!(get("l").unwrap(), "x\ny");
        assert_eq!((get("n").unwrap(), get("t").unwrap(), get("e").unwrap()), ("-5".into(), "true".into(), "".into()));
        assert!(get("z").is_none() && get("nope").is_none() && get("n.x").is_none() && get("a.b.c").is_none());
    }

    #[test]
    fn json_get_survives_what_is_no_json() {
        let good = r#"{"a":{"b":["x","\ud83dx"],"c":"\u00e9"}}"#;
        for i in 0..good.len() {
            for c in ['"', '\\', '{', '}', '[', ']', ',', ':', ' ', 'é'] {
                let bent: String = good.chars().take(i).chain([c]).chain(good.chars().skip(i + 1)).collect();
                for cut in 0..=bent.len() {
                    if let Some(s) = bent.get(..cut) {
                        json_get(s, "a.b");
                        json_get(s, "a.c");
                    }
                }
            }
        }
    }

    #[test]
    fn objects_read_back() {
        let mut o = Object::new();
        o.text("s", "a\"\n\u{1}é").int("n", -1).raw("r", "[true]");
        assert_eq!(o.json(), "{\"s\":\"a\\\"\\n\\u0001é\",\"n\":-1,\"r\":[true]}");
        assert_eq!(json_get(&o.json(), "s").unwrap(), "a\"\n\u{1}é");
        assert_eq!(Object::new().json(), "{}");
    }

    fn decide(m: &Input) -> Decision {
        match m.int("message.textBytes") {
            Some(bytes) if bytes <= config_int("max").unwrap_or(1) => Decision::abstain(),
            _ => Decision::deny("big", "too big"),
        }
    }
    on_message!(decide);

    fn judge(r: &Input) -> Approval {
        match r.text("request.urlVerified").as_str() {
            "true" => Approval::approve(&["message"], 10, 60),
            _ => Approval::wait("unverified", "its URL is a mere claim"),
        }
    }
    on_request!(judge);

    #[test]
    fn a_policy_runs_natively() {
        let run = |i| testing::run(ogp_message, r#"{"max":5}"#, i);
        assert_eq!(run(r#"{"message":{"textBytes":6}}"#), (r#"{"decision":"deny","code":"big","reason":"too big"}"#.into(), 0));
        assert_eq!(run(r#"{"message":{"textBytes":5}}"#), (r#"{"decision":"abstain"}"#.into(), 0));
        assert_eq!(json_get(&run(r#"{"message":{}}"#).0, "decision").unwrap(), "deny");
        let judge = |i| testing::run(ogp_request, "{}", i).0;
        assert_eq!(json_get(&judge(r#"{"request":{"urlVerified":false}}"#), "decision").unwrap(), "hold");
        assert_eq!(
            judge(r#"{"request":{"urlVerified":true}}"#),
            r#"{"decision":"allow","grants":[{"intent":"message","enabled":true,"rateLimit":{"requests":10,"windowSeconds":60}}]}"#
        );
    }
}
