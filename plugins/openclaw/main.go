// Command openclaw is the default notifier: it hands each federation event to an OpenClaw
// gateway as an agent run, POST {openclaw_url}/hooks/agent.
//
// What a peer wrote reaches the agent only cleaned, bounded and between marks, behind a
// line of ours that says who it is from. Where /hooks/agent cannot be used, /hooks/wake
// tells the agent with a fixed line that something waits: its text is not treated as
// untrusted there, so no word of a peer's goes that way.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/notify"
	"github.com/opengatewayprotocol/ogp/sdk/wording"
)

func init() {
	sdk.OnInit(configure)
	notify.Batch(tell)
}

func main() { sdk.Main() }

// settings are the plugin's configuration.
type settings struct {
	url          string // without a slash at its end
	hooks        string // OpenClaw's hooks.path
	agent        string
	sessionKey   string
	sessionMode  string
	removedKey   string // the session that hears of removals
	deliver      bool
	maxTextBytes int
	personas     sdk.Value // persona id to OpenClaw agent id
	elsewhere    sdk.Value // the intents and peers of which other notifiers tell messages, each of some
}

var conf settings

func configure(c sdk.Value) error {
	conf = settings{
		url:          strings.TrimRight(textOr(c.Get("openclaw_url"), "http://localhost:18789"), "/"),
		hooks:        "/" + strings.Trim(textOr(c.Get("hooks_path"), "/hooks"), "/"),
		agent:        textOr(c.Get("agent_id"), "main"),
		sessionKey:   c.Get("session_key").Text(),
		sessionMode:  c.Get("session_mode").Text(),
		deliver:      !c.Get("deliver").Exists() || c.Get("deliver").Bool(),
		maxTextBytes: 16 << 10,
		personas:     c.Get("personas"),
		elsewhere:    c.Get("elsewhere"),
	}
	conf.removedKey = "agent:" + conf.agent + ":main"
	if k := c.Get("removed_session_key"); k.Kind() == sdk.Text {
		conf.removedKey = strings.ReplaceAll(k.Text(), "{agent_id}", conf.agent)
	}
	if n := c.Get("max_text_bytes").Int(); n > 0 {
		conf.maxTextBytes = int(min(n, 64<<10))
	}
	switch {
	case !strings.HasPrefix(conf.url, "http://") && !strings.HasPrefix(conf.url, "https://"):
		return errors.New("openclaw_url must begin with http:// or https://")
	case conf.sessionMode != "" && conf.sessionMode != "isolated" && conf.sessionMode != "persistent":
		return errors.New("session_mode must be isolated or persistent")
	case conf.sessionMode == "persistent" && conf.sessionKey == "":
		return errors.New("session_mode persistent needs a session_key")
	}
	return nil
}

func textOr(v sdk.Value, otherwise string) string {
	if s := v.Text(); s != "" {
		return s
	}
	return otherwise
}

// post is one request to /hooks/agent: events for one agent and session, in order.
type post struct {
	agent, sessionKey string
	keyIsDefault      bool // the session key is our default, not the operator's wish
	events            []*sdk.Event
	bytes             int // of what they say, at most
}

// maxPostBytes bounds what is merged into one run. OpenClaw takes 262144 bytes of JSON;
// escaping can nearly double ours.
const maxPostBytes = 96 << 10

// tell posts the events, merged by agent and session. One post that is refused keeps none
// of the others from the agent, and what was taken does not come again: OpenClaw knows a key
// for five minutes alone.
func tell(events []sdk.Event) sdk.Outcome {
	if ok, err := sdk.HasSecret("hooks_token"); err != nil || !ok {
		return sdk.SetUp("no token for OpenClaw's webhooks: set openclaw_hooks_token to the hooks.token of OpenClaw's configuration")
	}
	var done []string
	all := sdk.Delivered()
	for _, p := range merge(events) {
		switch o := p.send(); o.Status {
		case sdk.StatusDelivered:
			for _, e := range p.events {
				done = append(done, e.ID)
			}
			continue
		case sdk.StatusRetry: // the others would hear the same; and it may have been taken, so that it stays as it is
			o.Notified = done
			return o
		case sdk.StatusFailed:
			all = o
		default:
			if all.Status == sdk.StatusDelivered {
				all = o
			}
		}
	}
	if all.Status != sdk.StatusDelivered {
		all.Notified = done
	}
	return all
}

// elsewhere reports whether another notifier tells of an event.
func elsewhere(e *sdk.Event) (is bool) {
	conf.elsewhere.Each(func(_ string, l sdk.Value) bool {
		is = e.Fits(l.Get("intents").Texts(), l.Get("peers").Texts())
		return !is
	})
	return is
}

func merge(events []sdk.Event) []*post {
	var posts []*post
	for i := range events {
		e := &events[i]
		if elsewhere(e) {
			continue
		}
		agent, key, isDefault := route(e)
		n := 0 // one alone is bounded by what it says
		if len(events) > 1 {
			n = len(wording.Of(e, conf.maxTextBytes))
		}
		var p *post
		for _, open := range posts {
			if open.agent == agent && open.sessionKey == key && open.bytes+n <= maxPostBytes {
				p = open
			}
		}
		if p == nil {
			p = &post{agent: agent, sessionKey: key, keyIsDefault: isDefault}
			posts = append(posts, p)
		}
		p.events = append(p.events, e)
		p.bytes += n
	}
	return posts
}

// route says which agent and session an event is for.
func route(e *sdk.Event) (agent, key string, isDefault bool) {
	agent = conf.agent
	if persona := e.Message.ToAgent; persona != "" {
		agent = textOr(conf.personas.Get(persona), wording.Word(persona))
	}
	// The host knows its personas. For a message that names none it says the primary one's,
	// which the operator's agent_id overrules.
	if id := e.Message.JSON.Get("agentId").Text(); id != "" && (e.Message.ToAgent != "" || conf.agent == "main") {
		agent = id
	}
	if e.Type == sdk.EventRemoved && conf.sessionKey == "" {
		return agent, conf.removedKey, true
	}
	return agent, strings.ReplaceAll(conf.sessionKey, "{peer}", peerWord(e)), false
}

// lower is for letters of ASCII alone: the tables of all others make the module larger.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// peerWord is a peer in a session key: our alias for it, which can be changed, would start
// another session, so that it is its fingerprint; "gateway" for events about no peer.
func peerWord(e *sdk.Event) string {
	for _, s := range [...]string{e.Peer.Fingerprint, e.Peer.ID} {
		if s = lower(wording.Word(s)); s != "" {
			return s
		}
	}
	return "gateway"
}

// key names a post for OpenClaw: the event's ID, and for several how many follow and a
// hash of all their IDs, so that another merge of the same events is another key.
func (p *post) key() string {
	first := p.events[0].ID
	if len(p.events) == 1 {
		return first
	}
	hash := uint64(14695981039346656037) // FNV-1a
	for _, e := range p.events {
		for _, c := range []byte(e.ID + "\n") {
			hash = (hash ^ uint64(c)) * 1099511628211
		}
	}
	return first + "+" + strconv.Itoa(len(p.events)-1) + "-" + strconv.FormatUint(hash, 36)
}

func (p *post) message() string { return wording.Several(p.events, conf.maxTextBytes) }

func (p *post) body(withKey bool) string {
	o := new(sdk.Object).Text("message", p.message()).Text("name", "OGP Federation").
		Text("agentId", p.agent).Text("wakeMode", "now").Bool("deliver", conf.deliver)
	if withKey && p.sessionKey != "" {
		o.Text("sessionKey", p.sessionKey)
		if p.keyIsDefault { // the conversation itself, which a run of its own would not reach
			o.Text("sessionMode", "persistent")
		} else {
			o.TextIf("sessionMode", conf.sessionMode)
		}
	}
	if p.isTest() { // its answer then says whether the model works
		o.Bool("waitForCompletion", true)
	}
	if len(p.events) == 1 && p.events[0].Type == sdk.EventRemoved {
		peer := &p.events[0].Peer
		o.Object("metadata", new(sdk.Object).Text("type", "federation_removed").
			Text("peerId", sdk.Line(peer.ID, 128)).Text("displayName", sdk.Line(peer.Names.Display, 64)))
	}
	return o.JSON()
}

func (p *post) send() sdk.Outcome {
	r, err := request("/agent", p.body(true), p.key())
	if err == nil && r.Status == 400 && p.keyIsDefault && strings.HasPrefix(reason(r), "session") {
		// OpenClaw takes session keys from outside only where hooks.allowRequestSessionKey
		// and a fitting hooks.allowedSessionKeyPrefixes say so.
		r, err = request("/agent", p.body(false), p.key())
	}
	if err != nil {
		return unreachable(err)
	}
	o := outcome(r)
	if o.Status == sdk.StatusDelivered && p.isTest() {
		if v, err := sdk.Parse(r.Body); err == nil && v.Get("completion").Get("status").Text() == "error" {
			return sdk.SetUp("OpenClaw took the call, and its model did not run it - give OpenClaw a model and a key that work: openclaw models status")
		}
	}
	if o.Status == sdk.StatusFailed && len(p.events) == 1 && inInbox(p.events[0]) && p.wake() {
		o.Detail += "; the agent was told by /hooks/wake that something waits in the inbox"
	}
	return o
}

// isTest says that nothing has happened: "ogp doctor" makes a test call.
func (p *post) isTest() bool { return len(p.events) == 1 && p.events[0].Type == "doctor.test" }

// inInbox says that an event can be read with "ogp inbox list".
func inInbox(e *sdk.Event) bool {
	return e.Type == sdk.EventMessage && e.Message.JSON.Get("inboxId").Text() != ""
}

// wake tells the agent with a fixed line that something waits.
func (p *post) wake() bool {
	line := "A federation event waits in the ogp inbox, and could not be handed over in full. See: " + wording.Command(p.events[0]) + " inbox list"
	r, err := request("/wake", new(sdk.Object).Text("text", line).Text("mode", "now").JSON(), "")
	return err == nil && accepted(r)
}

func request(path, body, key string) (*sdk.HTTPResponse, error) {
	headers := []string{"Authorization", "Bearer {secret:hooks_token}", "Content-Type", "application/json"}
	if key != "" {
		headers = append(headers, "Idempotency-Key", key)
	}
	// A busy agent's lane answers after up to 15 s, a first call after a start after 5 s.
	return sdk.HTTP(sdk.HTTPRequest{Method: "POST", URL: conf.url + conf.hooks + path, Headers: headers, Body: body, TimeoutMs: 30_000})
}

// unreachable sorts requests that got no answer.
func unreachable(err error) sdk.Outcome {
	if ce, ok := err.(*sdk.CallError); ok {
		switch ce.Code {
		case sdk.CallNotGranted:
			return sdk.SetUp("OpenClaw at " + conf.url + ": " + err.Error()) // the host says what to change
		case sdk.CallUnknown, sdk.CallBadRequest:
			return sdk.SetUp("openclaw_url " + conf.url + " cannot be requested: " + ce.Text)
		}
	}
	return sdk.Retry(0, "OpenClaw at "+conf.url+": "+err.Error()+" - start OpenClaw, or correct openclaw_url")
}

// accepted says that OpenClaw took it: any 2xx with ok. Older releases answer 202.
func accepted(r *sdk.HTTPResponse) bool {
	if r.Status < 200 || r.Status > 299 {
		return false
	}
	v, err := sdk.Parse(r.Body)
	return err == nil && v.Get("ok").Bool()
}

// reason is what OpenClaw says about a refusal, in one bounded line.
func reason(r *sdk.HTTPResponse) string {
	text := r.Body
	if v, err := sdk.Parse(r.Body); err == nil {
		if e := v.Get("error"); e.Kind() == sdk.Text {
			text = e.Text()
		} else if m := e.Get("message"); m.Kind() == sdk.Text {
			text = m.Text()
		}
	}
	return sdk.Line(text, 200)
}

// outcome sorts the answers. Those that retry come again with the same key; what is too
// big or no message is set aside; the others need the operator, so that the detail says
// what to change, and the events wait for it.
func outcome(r *sdk.HTTPResponse) sdk.Outcome {
	if accepted(r) {
		return sdk.Delivered()
	}
	said := "OpenClaw answered " + strconv.FormatInt(r.Status, 10) + ": " + reason(r)
	if r.Status == 408 || r.Status == 409 || r.Status == 429 || r.Status >= 500 {
		return sdk.Retry(r.RetryAfter(), said)
	}
	if r.Status == 413 || r.Status == 400 && blamesBody(reason(r)) {
		return sdk.Failed(said + " - " + remedy(r))
	}
	return sdk.SetUp(said + " - " + remedy(r))
}

// blamesBody says that a 400 is about what was posted, not about how we are set up.
func blamesBody(why string) bool {
	return why == "message required" || strings.HasPrefix(why, "Unexpected ") || strings.HasPrefix(why, "Expected ")
}

func remedy(r *sdk.HTTPResponse) string {
	why := reason(r)
	switch {
	case r.Status == 401:
		return "set openclaw_hooks_token to the hooks.token of OpenClaw's configuration (it is not the gateway token)"
	case r.Status == 403:
		return "OpenClaw sees a proxy in front of it: point openclaw_url straight at it, or list the proxy in its gateway.trustedProxies"
	case r.Status == 404:
		return "set hooks.enabled = true in OpenClaw's configuration, keep hooks.path at /hooks, and check openclaw_url"
	case r.Status == 405:
		return "openclaw_url does not lead to OpenClaw's webhooks: check it"
	case r.Status == 413:
		return "lower max_text_bytes of this plugin"
	case strings.HasPrefix(why, "unknown agentId"), strings.HasPrefix(why, "agentId"):
		return "set agent_id (and personas) to agents that OpenClaw has and its hooks.allowedAgentIds allows"
	case strings.HasPrefix(why, "sessionKey"):
		return "set hooks.allowRequestSessionKey = true and a fitting hooks.allowedSessionKeyPrefixes in OpenClaw's configuration, or take session_key away"
	case r.Status >= 200 && r.Status < 300:
		return "this is not OpenClaw's answer, but another server's, a proxy's or a captive page's: check openclaw_url"
	case r.Status >= 300 && r.Status < 400:
		return "redirects are not followed: " + sdk.LeadsTo(r, "openclaw_url")
	}
	return "check openclaw_url and this plugin's settings"
}
