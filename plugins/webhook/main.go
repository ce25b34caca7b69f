// Command webhook is a notifier for anything that takes JSON: it posts each event to one
// URL, and the host signs the body. With format = "hermes" the body is the one that the
// Hermes agent expects of an OGP gateway.
package main

import (
	"errors"
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
	"github.com/opengatewayprotocol/ogp/sdk/notify"
	"github.com/opengatewayprotocol/ogp/sdk/wording"
)

func init() {
	sdk.OnInit(configure)
	notify.Is(tell)
}

func main() { sdk.Main() }

var conf struct {
	url    string
	hermes bool
	target string // hermes: human_delivery_target
}

func configure(c sdk.Value) error {
	conf.url = c.Get("url").Text()
	conf.target = c.Get("human_delivery_target").Text()
	format := c.Get("format").Text()
	conf.hermes = format == "hermes"
	if conf.url == "" && conf.hermes {
		conf.url = "http://localhost:8644/webhooks/ogp_federation"
	}
	switch {
	case !strings.HasPrefix(conf.url, "http://") && !strings.HasPrefix(conf.url, "https://"):
		return errors.New("url must begin with http:// or https://")
	case format != "" && format != "json" && !conf.hermes:
		return errors.New("format must be json or hermes")
	}
	return nil
}

func tell(e *sdk.Event) sdk.Outcome {
	body := plain(e)
	if conf.hermes {
		body = hermes(e)
	}
	r := sdk.HTTPRequest{
		Method: "POST", URL: conf.url, Body: body.JSON(), TimeoutMs: 10_000,
		Headers: []string{"Content-Type", "application/json", "Idempotency-Key", e.ID},
	}
	// A receiver that checks signatures is never sent a post without one.
	switch signed, err := sdk.HasSecret("webhook_secret"); {
	case err != nil:
		return sdk.SetUp("cannot say whether there is a webhook_secret, so that nothing is posted unsigned: " + err.Error())
	case signed:
		r.HMAC = sdk.HMAC{Secret: "webhook_secret", Header: "X-Hub-Signature-256", Prefix: "sha256="}
	}
	return sdk.OutcomeOf(sdk.HTTP(r))
}

// plain is the event for programs: what is ours in named members, what the peer wrote
// under "unverified" and "message", and the whole once more in words for an agent.
func plain(e *sdk.Event) *sdk.Object {
	o := new(sdk.Object).Text("id", e.ID).Text("type", e.Type).Text("at", e.At.String()).TextIf("by", e.By).
		Text("headline", wording.Headline(e)).Text("text", wording.Of(e, maxTextBytes))
	if e.Peer.ID != "" || e.Peer.Fingerprint != "" {
		o.Object("peer", peer(&e.Peer))
	}
	if m := &e.Message; m.Intent != "" {
		o.Object("message", new(sdk.Object).Text("id", m.ID).Text("intent", m.Intent).TextIf("topic", m.Topic).TextIf("priority", m.Priority).
			TextIf("conversationId", m.ConversationID).TextIf("toAgent", m.ToAgent).TextIf("level", m.Level).Value("payload", m.Payload))
	}
	switch e.Type {
	case sdk.EventRequest, sdk.EventDigest: // a stranger's words, of which only these are for programs
		data := new(sdk.Object)
		for _, name := range [...]string{"requests", "pending"} {
			if n := e.Data.Get(name).Int(); n > 0 {
				data.Int(name, n)
			}
		}
		o.Object("data", data.Texts("offeredIntents", offered(e)))
	case sdk.EventApproved, sdk.EventRejected, sdk.EventRemoved: // "peer" says it all
	default:
		if e.Data.Kind() == sdk.Map {
			o.Value("data", e.Data)
		}
	}
	return o
}

func offered(e *sdk.Event) []string {
	all := e.Data.Get("offeredIntents").Texts()
	all = all[:min(len(all), 20)]
	for i := range all {
		all[i] = sdk.Line(all[i], 64)
	}
	return all
}

// maxTextBytes bounds what of a peer's text is put in words; the payload has it all.
const maxTextBytes = 16 << 10

func peer(p *sdk.Peer) *sdk.Object {
	names := new(sdk.Object).TextIf("displayName", sdk.Line(p.Names.Display, 128)).TextIf("humanName", sdk.Line(p.Names.Human, 128)).
		TextIf("agentName", sdk.Line(p.Names.Agent, 128)).TextIf("organization", sdk.Line(p.Names.Organization, 128)).
		TextIf("email", sdk.Line(p.Names.Email, 128)).TextIf("gatewayUrl", sdk.Line(p.GatewayURL, 256))
	return new(sdk.Object).TextIf("alias", p.Alias).Text("fingerprint", p.Fingerprint).Text("id", sdk.Line(p.ID, 128)).Text("state", p.State).
		Object("unverified", names)
}

// hermes is the body that was recorded of the TypeScript gateway, with two differences:
// the name shown is our alias or the peer's id and never what a peer calls itself, and no
// request comes with the command that would approve it.
func hermes(e *sdk.Event) *sdk.Object {
	m := &e.Message
	event, intent, topic, class, mode, surfacing := kind(e)
	who := e.Peer.Alias
	if who == "" {
		who = sdk.Line(e.Peer.ID, 128)
	}
	priority := m.Priority
	if priority != "low" && priority != "high" {
		priority = "normal"
	}
	return new(sdk.Object).Text("event_type", event).Text("peer_id", sdk.Line(e.Peer.ID, 128)).Text("peer_display_name", who).
		Text("intent", intent).Text("topic", topic).Text("message", wording.Of(e, maxTextBytes)).Text("priority", priority).
		TextIf("conversation_id", sdk.Line(m.ConversationID, 128)).TextIf("human_delivery_target", conf.target).
		Text("handling_mode", mode).Text("message_class", class).Text("human_surfacing_mode", surfacing).Text("relay_mode", mode).
		Text("timestamp", e.At.String()).Object("payload", new(sdk.Object).Object("ogp", hermesPayload(e)))
}

// kind sorts an event into Hermes' words.
func kind(e *sdk.Event) (event, intent, topic, class, mode, surfacing string) {
	class, mode, surfacing = "agent-work", "summarize", "summary-only"
	switch e.Type {
	case sdk.EventMessage, sdk.EventReply:
		intent = wording.Word(e.Message.Intent)
		if intent == "" {
			intent = "message"
		}
		if intent == "status-update" {
			class = "status-update"
		}
		topic = wording.Word(e.Message.Topic)
		if topic == "" {
			topic = "general"
		}
		return intent, intent, topic, class, mode, surfacing
	case sdk.EventRequest, sdk.EventDigest:
		return "federation-request", "federation-request", "federation", "approval-request", "approval-required", "always"
	}
	return "status-update", "status-update", "federation", "status-update", mode, surfacing
}

func hermesPayload(e *sdk.Event) *sdk.Object {
	m := &e.Message
	if e.Type == sdk.EventMessage || e.Type == sdk.EventReply {
		o := new(sdk.Object).Text("from", sdk.Line(e.Peer.ID, 128)).Text("intent", m.Intent).TextIf("nonce", m.ID)
		if m.Intent == "agent-comms" {
			o.TextIf("topic", m.Topic).TextIf("priority", m.Priority).TextIf("conversationId", m.ConversationID)
		}
		o.Value("payload", m.Payload).TextIf("toAgent", m.ToAgent)
		if m.Level != "" {
			o.Object("responsePolicy", new(sdk.Object).Text("level", m.Level))
		}
		return o
	}
	names := new(sdk.Object).Text("id", sdk.Line(e.Peer.ID, 128)).Text("displayName", sdk.Line(e.Peer.Names.Display, 128)).
		Text("email", sdk.Line(e.Peer.Names.Email, 128)).Text("gatewayUrl", sdk.Line(e.Peer.GatewayURL, 256)).Bool("verified", false)
	typ := strings.ReplaceAll(e.Type, ".", "_")
	o := new(sdk.Object).Text("type", typ).Object("peer", names).TextIf("by", e.By)
	if e.Type == sdk.EventRemoved {
		o.Text("removedAt", e.At.String()).Text("removalType", "asymmetric")
	}
	return o
}
