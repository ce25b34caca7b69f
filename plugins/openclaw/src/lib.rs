//! The default notifier: it hands each federation event to an OpenClaw gateway as an agent run,
//! POST {openclaw_url}/hooks/agent.
//!
//! What a peer wrote reaches the agent only cleaned, bounded and between marks, behind a line of
//! ours that says who it is from. Where /hooks/agent cannot be used, /hooks/wake tells the agent
//! with a fixed line that something waits: its text is not treated as untrusted there, so no word
//! of a peer's goes that way.
//!
//! It is in Rust because every message passes here: as a module of Go it took a fifth of all the
//! gateway's time. docs/performance.md#plugins

use ogp::wording::{several, word};
use ogp::{line, Document, Event, Kind, Object, Outcome, Request, Response, Value};
use std::cell::RefCell;
use std::rc::Rc;

ogp::configure!(configure);
ogp::notify_all!(tell);

/// The plugin's configuration.
#[derive(Default)]
struct Settings {
    url: String,   // without a slash at its end
    hooks: String, // OpenClaw's hooks.path
    agent: String,
    session_key: String,
    session_mode: String,
    removed_key: String, // the session that hears of removals
    deliver: bool,
    max_text_bytes: usize,
    personas: Vec<(String, String)>, // persona id to OpenClaw agent id
    elsewhere: Vec<Part>,            // what other notifiers tell of
}

/// The messages of some intents and peers, of which another notifier tells. None is all.
struct Part {
    intents: Vec<String>,
    peers: Vec<String>,
}

thread_local! {
    static SETTINGS: RefCell<Rc<Settings>> = RefCell::default();
}

fn configure(c: Value) -> Result<(), String> {
    let text = |name: &str, otherwise: &str| match c.get(name).text() {
        none if none.is_empty() => otherwise.to_string(),
        text => text.into_owned(),
    };
    let texts = |v: Value| v.texts().into_iter().map(|t| t.into_owned()).collect();
    let agent = text("agent_id", "main");
    let removed = c.get("removed_session_key");
    let s = Settings {
        url: text("openclaw_url", "http://localhost:18789").trim_end_matches('/').into(),
        hooks: format!("/{}", text("hooks_path", "/hooks").trim_matches('/')),
        session_key: text("session_key", ""),
        session_mode: text("session_mode", ""),
        removed_key: match removed.kind() {
            Kind::Text => removed.text().replace("{agent_id}", &agent),
            _ => format!("agent:{}:main", agent),
        },
        deliver: !c.get("deliver").exists() || c.get("deliver").bool(),
        max_text_bytes: c.get("max_text_bytes").int().filter(|&n| n > 0).unwrap_or(16 << 10).min(64 << 10) as usize,
        personas: c.get("personas").members().map(|(name, agent)| (name.into_owned(), agent.text().into_owned())).collect(),
        elsewhere: c.get("elsewhere").elements().map(|l| Part { intents: texts(l.get("intents")), peers: texts(l.get("peers")) }).collect(),
        agent,
    };
    if !s.url.starts_with("http://") && !s.url.starts_with("https://") {
        return Err("openclaw_url must begin with http:// or https://".into());
    }
    if !matches!(s.session_mode.as_str(), "" | "isolated" | "persistent") {
        return Err("session_mode must be isolated or persistent".into());
    }
    if s.session_mode == "persistent" && s.session_key.is_empty() {
        return Err("session_mode persistent needs a session_key".into());
    }
    SETTINGS.with(|conf| *conf.borrow_mut() = Rc::new(s));
    Ok(())
}

/// One request to /hooks/agent: events for one agent and session, in order.
struct Post<'a> {
    agent: String,
    session_key: String,
    key_is_default: bool, // the session key is our default, not the operator's wish
    events: Vec<&'a Event<'a>>,
    bytes: usize, // of what they say, at most
}

/// Bounds what is merged into one run. OpenClaw takes 262144 bytes of JSON; escaping can nearly
/// double ours.
const MAX_POST_BYTES: usize = 96 << 10;

/// Posts the events, merged by agent and session. One post that is refused keeps none of the others
/// from the agent, and what was taken does not come again: OpenClaw knows a key for five minutes
/// alone.
fn tell(events: &[Event]) -> Outcome {
    if !ogp::has_secret("hooks_token") {
        return Outcome::setup("no token for OpenClaw's webhooks: set openclaw_hooks_token to the hooks.token of OpenClaw's configuration");
    }
    let conf = SETTINGS.with(|conf| conf.borrow().clone());
    let mut done: Vec<&str> = Vec::new();
    let mut all = Sort::Delivered;
    for p in conf.merge(events) {
        match conf.send(&p) {
            Sort::Delivered => done.extend(p.events.iter().map(|e| e.id.as_ref())),
            // The others would hear the same; and it may have been taken, so that it stays as it is.
            Sort::Retry(after, detail) => return Outcome::retry(after, &detail).but_notified(&done),
            failed @ Sort::Failed(_) => all = failed,
            setup => {
                if let Sort::Delivered = all {
                    all = setup;
                }
            }
        }
    }
    match all {
        Sort::Failed(detail) => Outcome::failed(&detail).but_notified(&done),
        Sort::SetUp(detail) => Outcome::setup(&detail).but_notified(&done),
        _ => Outcome::delivered(),
    }
}

/// What came of a post, with what the operator should know.
enum Sort {
    Delivered,
    Retry(i64, String), // after some seconds
    Failed(String),
    SetUp(String),
}

impl Settings {
    fn merge<'a>(&self, events: &'a [Event<'a>]) -> Vec<Post<'a>> {
        let mut posts: Vec<Post> = Vec::new();
        for e in events {
            if self.is_elsewhere(e) {
                continue;
            }
            let (agent, session_key, key_is_default) = self.route(e);
            let bytes = self.most_bytes(e);
            let fits = |p: &&mut Post| p.agent == agent && p.session_key == session_key && p.bytes + bytes <= MAX_POST_BYTES;
            match posts.iter_mut().rev().find(fits) {
                Some(p) => {
                    p.events.push(e);
                    p.bytes += bytes;
                }
                None => posts.push(Post { agent, session_key, key_is_default, events: vec![e], bytes }),
            }
        }
        posts
    }

    /// What is said of an event, at most: a peer's words up to their bound, what it calls itself, and
    /// ours.
    fn most_bytes(&self, e: &Event) -> usize {
        let theirs = e.message.json().len() + e.data.json().len();
        theirs.min(self.max_text_bytes) + e.peer.json().len() + 3 * e.command.len() + (1 << 10)
    }

    /// Reports whether another notifier tells of an event.
    fn is_elsewhere(&self, e: &Event) -> bool {
        let list = |all: &[String]| all.iter().map(|s| s.clone().into()).collect::<Vec<_>>();
        self.elsewhere.iter().any(|part| e.fits(&list(&part.intents), &list(&part.peers)))
    }

    /// Says which agent and session an event is for.
    fn route(&self, e: &Event) -> (String, String, bool) {
        let mut agent = self.agent.clone();
        let persona = e.message.get("toAgent").text();
        if !persona.is_empty() {
            let named = self.personas.iter().find(|(name, agent)| *name == persona && !agent.is_empty());
            agent = named.map_or_else(|| word(&persona), |(_, agent)| agent.clone());
        }
        // The host knows its personas. For a message that names none it says the primary one's,
        // which the operator's agent_id overrules.
        let id = e.message.get("agentId").text();
        if !id.is_empty() && (!persona.is_empty() || self.agent == "main") {
            agent = id.into_owned();
        }
        if e.kind == "federation.removed" && self.session_key.is_empty() {
            return (agent, self.removed_key.clone(), true);
        }
        (agent, self.session_key.replace("{peer}", &peer_word(e)), false)
    }

    fn body(&self, p: &Post, with_key: bool) -> String {
        let mut o = Object::new();
        o.text("message", &several(&p.events, self.max_text_bytes)).text("name", "OGP Federation");
        o.text("agentId", &p.agent).text("wakeMode", "now").bool("deliver", self.deliver);
        if with_key && !p.session_key.is_empty() {
            o.text("sessionKey", &p.session_key);
            // By default the conversation itself, which a run of its own would not reach.
            let mode = if p.key_is_default { "persistent" } else { &self.session_mode };
            if !mode.is_empty() {
                o.text("sessionMode", mode);
            }
        }
        if p.is_test() { // its answer then says whether the model works
            o.bool("waitForCompletion", true);
        }
        if let [e] = p.events[..] {
            if e.kind == "federation.removed" {
                let mut about = Object::new();
                about.text("type", "federation_removed").text("peerId", &line(&e.peers("id"), 128));
                about.text("displayName", &line(&e.names("displayName"), 64));
                o.raw("metadata", &about.json());
            }
        }
        o.json()
    }

    fn request(&self, path: &str, body: &str, key: &str) -> Result<Response, ogp::CallError> {
        let mut headers = vec![("Authorization", "Bearer {secret:hooks_token}"), ("Content-Type", "application/json")];
        if !key.is_empty() {
            headers.push(("Idempotency-Key", key));
        }
        let url = [&self.url, &self.hooks, path].concat();
        // A busy agent's lane answers after up to 15 s, a first call after a start after 5 s.
        ogp::request(&Request { method: "POST", url: &url, headers: &headers, body, timeout_ms: 30_000 })
    }

    fn send(&self, p: &Post) -> Sort {
        let key = p.key();
        let mut r = self.request("/agent", &self.body(p, true), &key);
        if let Ok(refused) = &r {
            if refused.status() == 400 && p.key_is_default && reason(refused).starts_with("session") {
                // OpenClaw takes session keys from outside only where hooks.allowRequestSessionKey
                // and a fitting hooks.allowedSessionKeyPrefixes say so.
                r = self.request("/agent", &self.body(p, false), &key);
            }
        }
        let r = match r {
            Ok(r) => r,
            Err(e) => return self.unreachable(&e),
        };
        match (sort(&r), &p.events[..]) {
            (Sort::Delivered, _) if p.is_test() && run_failed(&r) => {
                Sort::SetUp("OpenClaw took the call, and its model did not run it - give OpenClaw a model and a key that work: openclaw models status".into())
            }
            (Sort::Failed(detail), [e]) if in_inbox(e) && self.wake(e) => {
                Sort::Failed(detail + "; the agent was told by /hooks/wake that something waits in the inbox")
            }
            (sort, _) => sort,
        }
    }

    /// Tells the agent with a fixed line that something waits.
    fn wake(&self, e: &Event) -> bool {
        let line = format!("A federation event waits in the ogp inbox, and could not be handed over in full. See: {} inbox list", e.command);
        let mut o = Object::new();
        o.text("text", &line).text("mode", "now");
        self.request("/wake", &o.json(), "").map_or(false, |r| accepted(&r))
    }

    /// Sorts requests that got no answer.
    fn unreachable(&self, e: &ogp::CallError) -> Sort {
        match e.code {
            -2 => Sort::SetUp(format!("OpenClaw at {}: {}", self.url, e)), // the host says what to change
            -1 | -3 => Sort::SetUp(format!("openclaw_url {} cannot be requested: {}", self.url, e.text)),
            _ => Sort::Retry(0, format!("OpenClaw at {}: {} - start OpenClaw, or correct openclaw_url", self.url, e)),
        }
    }
}

/// A peer in a session key: our alias for it, which can be changed, would start another session, so
/// that it is its fingerprint; "gateway" for events about no peer.
fn peer_word(e: &Event) -> String {
    let words = ["fingerprint", "id"].map(|name| word(&e.peers(name)).to_ascii_lowercase());
    words.into_iter().find(|w| !w.is_empty()).unwrap_or_else(|| "gateway".into())
}

impl Post<'_> {
    /// Names a post for OpenClaw: the event's id, and for several how many follow and a hash of all
    /// their ids, so that another merge of the same events is another key.
    fn key(&self) -> String {
        if let [e] = self.events[..] {
            return e.id.to_string();
        }
        let mut hash: u64 = 14695981039346656037; // FNV-1a
        for e in &self.events {
            for c in e.id.bytes().chain([b'\n']) {
                hash = (hash ^ u64::from(c)).wrapping_mul(1099511628211);
            }
        }
        format!("{}+{}-{:x}", self.events[0].id, self.events.len() - 1, hash)
    }

    /// Says that nothing has happened: "ogp doctor" makes a test call.
    fn is_test(&self) -> bool {
        matches!(self.events[..], [e] if e.kind == "doctor.test")
    }
}

/// Says that an event can be read with "ogp inbox list".
fn in_inbox(e: &Event) -> bool {
    e.kind == "message" && !e.message.get("inboxId").text().is_empty()
}

/// Says that OpenClaw took it: any 2xx with ok. Older releases answer 202.
fn accepted(r: &Response) -> bool {
    (200..300).contains(&r.status()) && Document::parse(r.body().into_owned()).map_or(false, |d| d.value().get("ok").bool())
}

/// Says that the run of a test call went wrong.
fn run_failed(r: &Response) -> bool {
    Document::parse(r.body().into_owned()).map_or(false, |d| d.value().get("completion").get("status").text() == "error")
}

/// What OpenClaw says about a refusal, in one bounded line.
fn reason(r: &Response) -> String {
    let body = r.body();
    if let Ok(d) = Document::parse(body.clone().into_owned()) {
        let error = d.value().get("error");
        for said in [error, error.get("message")] {
            if said.kind() == Kind::Text {
                return line(&said.text(), 200);
            }
        }
    }
    line(&body, 200)
}

/// Sorts the answers. Those that retry come again with the same key; what is too big or no message
/// is set aside; the others need the operator, so that the detail says what to change, and the
/// events wait for it.
fn sort(r: &Response) -> Sort {
    if accepted(r) {
        return Sort::Delivered;
    }
    let why = reason(r);
    let said = format!("OpenClaw answered {}: {}", r.status(), why);
    let blames_body = why == "message required" || why.starts_with("Unexpected ") || why.starts_with("Expected ");
    match r.status() {
        408 | 409 | 429 | 500.. => Sort::Retry(r.retry_after(), said),
        413 => Sort::Failed(format!("{} - {}", said, remedy(r, &why))),
        400 if blames_body => Sort::Failed(format!("{} - {}", said, remedy(r, &why))),
        _ => Sort::SetUp(format!("{} - {}", said, remedy(r, &why))),
    }
}

fn remedy(r: &Response, why: &str) -> String {
    let said = match r.status() {
        401 => "set openclaw_hooks_token to the hooks.token of OpenClaw's configuration (it is not the gateway token)",
        403 => "OpenClaw sees a proxy in front of it: point openclaw_url straight at it, or list the proxy in its gateway.trustedProxies",
        404 => "set hooks.enabled = true in OpenClaw's configuration, keep hooks.path at /hooks, and check openclaw_url",
        405 => "openclaw_url does not lead to OpenClaw's webhooks: check it",
        413 => "lower max_text_bytes of this plugin",
        _ if why.starts_with("unknown agentId") || why.starts_with("agentId") => {
            "set agent_id (and personas) to agents that OpenClaw has and its hooks.allowedAgentIds allows"
        }
        _ if why.starts_with("sessionKey") => {
            "set hooks.allowRequestSessionKey = true and a fitting hooks.allowedSessionKeyPrefixes in OpenClaw's configuration, or take session_key away"
        }
        200..=299 => "this is not OpenClaw's answer, but another server's, a proxy's or a captive page's: check openclaw_url",
        300..=399 => {
            return match line(&r.header("location"), 200).as_str() {
                "" => "redirects are not followed: this one does not say where it leads; check openclaw_url".into(),
                to => format!("redirects are not followed: set openclaw_url to where it leads ({})", to),
            }
        }
        _ => "check openclaw_url and this plugin's settings",
    };
    said.into()
}
