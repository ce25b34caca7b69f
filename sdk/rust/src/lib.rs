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
//! A notifier that takes several events at once gets them parsed: [`notify_all!`].
//! The boundary is described in ABI.md. Natively, as in `cargo test`, [`testing`] is the host.

mod clean;
mod events;
mod json;
pub mod wording;

use std::borrow::Cow;

pub use clean::{clean, fence, line};
pub use events::{Event, Time};
pub use json::{Document, Kind, Value};

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
        String::from_utf8(b).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
    // What a hook was called with: its input, or at the start the configuration.
    pub fn input(_hook: &str, n: i32) -> String {
        pending(n)
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
        Outcome::of("delivered", 0, "")
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
        Outcome::of("working", after_seconds, detail)
    }
    /// Another attempt is wanted, after some seconds or when the host sees fit (0).
    pub fn retry(after_seconds: i64, detail: &str) -> Outcome {
        Outcome::of("retry", after_seconds, detail)
    }
    /// Names those of several events that arrived although this is the outcome of the others. They
    /// do not come again.
    pub fn but_notified(mut self, ids: &[&str]) -> Outcome {
        if !ids.is_empty() {
            let quoted: Vec<String> = ids.iter().map(|id| quote(id)).collect();
            self.0.raw("notified", &format!("[{}]", quoted.join(",")));
        }
        self
    }
    /// Nothing can be told until the operator has changed something, which the detail names:
    /// a token, a URL, a grant. What is owed waits, and loses nothing by it.
    pub fn setup(detail: &str) -> Outcome {
        Outcome::of("setup", 0, detail)
    }
    /// This event alone cannot be told, however often it is tried; the detail names the
    /// remedy.
    pub fn failed(detail: &str) -> Outcome {
        Outcome::of("failed", 0, detail)
    }
    fn of(status: &str, after_seconds: i64, detail: &str) -> Outcome {
        let mut o = Object::new();
        o.text("status", status);
        if after_seconds > 0 {
            o.int("retryAfterSeconds", after_seconds);
        }
        if !detail.is_empty() {
            o.text("detail", detail);
        }
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

/// Makes a function `fn(&[ogp::Event]) -> ogp::Outcome` this module's notifier. It gets all events
/// of one call: one, or several when the manifest says `batch = true`.
#[macro_export]
macro_rules! notify_all {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_notify(len: i32) -> i32 {
            $crate::run_all(len, $f)
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

/// Is [`init!`] for a function `fn(ogp::Value) -> Result<(), String>`, which gets the whole
/// configuration.
#[macro_export]
macro_rules! configure {
    ($f:path) => {
        #[no_mangle]
        pub extern "C" fn ogp_init(len: i32) -> i32 {
            $crate::start(|| $f($crate::configuration(len)?.value()))
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
pub fn run_all(len: i32, f: impl FnOnce(&[Event]) -> Outcome) -> i32 {
    start(|| {
        let input = Document::parse(host::input("notify", len))?;
        host::output(&f(&Event::all(input.value())).0.json());
        Ok(())
    })
}

#[doc(hidden)]
pub fn configuration(len: i32) -> Result<Document, String> {
    match host::input("", len) {
        none if none.is_empty() => Document::parse("{}".into()),
        text => Document::parse(text),
    }
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
    /// The operation.
    pub op: String,
    /// -1 unknown, -2 not granted, -3 bad request, -4 failed, -5 over a limit.
    pub code: i32,
    /// For the log and the operator.
    pub text: String,
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let what = match self.code {
            // The host says in plain words what came of it.
            -4 if self.op == "http.request" && !self.text.is_empty() => return f.write_str(&self.text),
            -1 => "unknown to this host",
            -2 => "not granted",
            -3 => "bad request",
            -5 => "over a limit",
            _ => "failed",
        };
        match self.text.as_str() {
            "" => write!(f, "{}: {}", self.op, what),
            text => write!(f, "{}: {}: {}", self.op, what, text),
        }
    }
}

/// Calls an operation of the host by name, with and for JSON: ABI.md lists them.
pub fn call(op: &str, request: &Object) -> Result<String, CallError> {
    host::operate(op, &request.json()).map_err(|code| CallError { op: op.into(), code, text: host::input_get("error").unwrap_or_default() })
}

/// Says whether a secret is set, and named by a grant.
pub fn has_secret(name: &str) -> bool {
    let mut o = Object::new();
    o.text("name", name);
    call("secret.has", &o).map_or(false, |res| json_get(&res, "has").as_deref() == Some("true"))
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
    let answer = request(&Request { method, url, headers, body, timeout_ms: 0 })?;
    Ok((answer.status(), answer.body().into_owned()))
}

/// An HTTP request that the host makes for the plugin, to a URL that the operator granted.
pub struct Request<'a> {
    /// Such as POST.
    pub method: &'a str,
    /// Where to.
    pub url: &'a str,
    /// A value may hold `{secret:name}`, which the host fills in when the grant of this URL names
    /// that secret.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: &'a str,
    /// Is cut to what is left of the call; 0 means all of that.
    pub timeout_ms: i64,
}

/// What came back, of any status.
pub struct Response(Document);

impl Response {
    /// Such as 200.
    pub fn status(&self) -> i64 {
        self.0.value().get("status").int().unwrap_or(0)
    }
    /// A header, its name in lower case; empty when it is not there.
    pub fn header(&self, name: &str) -> Cow<'_, str> {
        self.0.value().get("headers").get(name).text()
    }
    /// The body as text; empty when it is no UTF-8.
    pub fn body(&self) -> Cow<'_, str> {
        self.0.value().get("body").text()
    }
    /// How long the receiver asks to be left alone, in seconds up to an hour; zero: it does not say.
    /// Both forms of the header count: seconds, and a date, which is taken against the answer's own
    /// Date or, without one, the host's clock, if that is granted.
    pub fn retry_after(&self) -> i64 {
        const MOST: i64 = 3600;
        let header = self.header("retry-after");
        if let Ok(seconds) = header.parse::<i64>() {
            return seconds.clamp(0, MOST);
        }
        let now = || Time::parse(&json_get(&call("clock.now", &Object::new()).ok()?, "now")?);
        match (Time::of_http(&header), Time::of_http(&self.header("date"))) {
            (None, _) => 0,
            (Some(until), date) => date.or_else(now).map_or(0, |now| ((until.0 - now.0 + 999) / 1000).clamp(0, MOST)),
        }
    }
}

/// Makes an HTTP request through the host. No redirect is followed, and an answer of any status is
/// no error.
pub fn request(r: &Request) -> Result<Response, CallError> {
    let (mut o, mut h) = (Object::new(), Object::new());
    for (name, value) in r.headers {
        h.text(name, value);
    }
    o.text("method", r.method).text("url", r.url).raw("headers", &h.json()).text("body", r.body);
    if r.timeout_ms > 0 {
        o.int("timeoutMs", r.timeout_ms);
    }
    match Document::parse(call("http.request", &o)?) {
        Ok(answer) => Ok(Response(answer)),
        Err(text) => Err(CallError { op: "http.request".into(), code: -4, text }),
    }
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
        self.name(name);
        quote_into(&mut self.0, text);
        self
    }
    /// Adds true or false.
    pub fn bool(&mut self, name: &str, yes: bool) -> &mut Object {
        self.raw(name, if yes { "true" } else { "false" })
    }
    /// Adds a whole number.
    pub fn int(&mut self, name: &str, n: i64) -> &mut Object {
        self.raw(name, &n.to_string())
    }
    /// Adds what is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) -> &mut Object {
        self.name(name);
        self.0 += json;
        self
    }
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        quote_into(&mut self.0, name);
        self.0.push(':');
    }
    /// Says that nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
    let mut q = String::new();
    quote_into(&mut q, s);
    q
}

fn quote_into(q: &mut String, s: &str) {
    q.reserve(s.len() + 2);
    q.push('"');
    let mut rest = s;
    // Nearly all is copied in pieces.
    while let Some(n) = rest.bytes().position(|c| c < 0x20 || matches!(c, b'"' | b'\\' | 0x7f)) {
        *q += &rest[..n];
        match rest.as_bytes()[n] {
            c @ (b'"' | b'\\') => {
                q.push('\\');
                q.push(c as char)
            }
            b'\n' => *q += "\\n",
            b'\r' => *q += "\\r",
            b'\t' => *q += "\\t",
            c => *q += &format!("\\u{:04x}", c),
        }
        rest = &rest[n + 1..];
    }
    *q += rest;
    q.push('"');
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
    json::unescape(quoted.strip_prefix('"').and_then(|s| s.strip_suffix('"')).unwrap_or(""))
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
    pub(crate) fn input(hook: &str, _n: i32) -> String {
        match hook {
            "" => CONFIG.with(|c| c.borrow().clone()),
            _ => INPUT.with(|i| i.borrow().clone()),
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
            (Outcome::answered("at \"nine\""), r#"{"status":"delivered","reply":{"text":"at \"nine\""}}"#),
            (Outcome::answered_with(data), r#"{"status":"delivered","reply":{"data":{"n":1}}}"#),
            (Outcome::answered_no("no"), r#"{"status":"delivered","reply":{"error":"no"}}"#),
            (Outcome::working(3, "it thinks"), r#"{"status":"working","retryAfterSeconds":3,"detail":"it thinks"}"#),
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
