package rules

import (
	"net/url"
	"reflect"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// name is one name that an expression may use: its type, and how its value is read.
type name struct {
	name string
	of   *cel.Type
	read func(v *vars) any
}

func peer(f func(p *core.Peer) any) func(*vars) any {
	return func(v *vars) any { return f(v.in.Peer) }
}

func message(f func(m *core.Message) any) func(*vars) any {
	return func(v *vars) any { return f(v.in.Message) }
}

// names are all names. A name holds a value only where the question has one: those
// of messages and of requests are never read for the other.
var names = []name{
	{"kind", cel.StringType, func(v *vars) any { return string(v.in.Kind) }}, // "message" or "request"
	{"now", cel.TimestampType, func(v *vars) any { return v.in.Now }},        // when it came

	{"peer.alias", cel.StringType, peer(func(p *core.Peer) any { return p.Alias })},                           // our own name for the peer; a stranger has none
	{"peer.tags", cel.ListType(cel.StringType), peer(func(p *core.Peer) any { return p.Tags })},               // our own words for it
	{"peer.fingerprint", cel.StringType, peer(func(p *core.Peer) any { return p.Key.Fingerprint() })},         // of its key
	{"peer.id", cel.StringType, peer(func(p *core.Peer) any { return p.Key.ID() })},                           // a short label, which can collide
	{"peer.state", cel.StringType, peer(func(p *core.Peer) any { return string(p.Trust) })},                   // approved, pending, removed, ...
	{"peer.gatewayUrl", cel.StringType, peer(func(p *core.Peer) any { return p.URL })},                        // where it says it lives: a claim
	{"peer.names.displayName", cel.StringType, peer(func(p *core.Peer) any { return p.Names.DisplayName })},   // what it calls itself: a claim
	{"peer.names.email", cel.StringType, peer(func(p *core.Peer) any { return p.Names.Email })},               // a claim
	{"peer.names.humanName", cel.StringType, peer(func(p *core.Peer) any { return p.Names.HumanName })},       // a claim
	{"peer.names.agentName", cel.StringType, peer(func(p *core.Peer) any { return p.Names.AgentName })},       // a claim
	{"peer.names.organization", cel.StringType, peer(func(p *core.Peer) any { return p.Names.Organization })}, // a claim

	{"message.id", cel.StringType, message(func(m *core.Message) any { return string(m.Nonce) })}, // its nonce
	{"message.intent", cel.StringType, message(func(m *core.Message) any { return m.Intent })},
	{"message.topic", cel.StringType, func(v *vars) any { return v.in.Topic }},             // of agent-comms
	{"message.priority", cel.StringType, func(v *vars) any { v.say(); return v.priority }}, // of agent-comms
	{"message.conversationId", cel.StringType, message(func(m *core.Message) any { return m.ConversationID })},
	{"message.toAgent", cel.StringType, message(func(m *core.Message) any { return m.ToAgent })}, // the persona that it names
	{"message.replyWanted", cel.BoolType, message(func(m *core.Message) any { return m.ReplyTo != "" })},
	{"message.text", cel.StringType, func(v *vars) any { v.needPayload(); v.say(); return v.text }}, // what it says to a reader
	{"message.textBytes", cel.IntType, func(v *vars) any {
		if v.in.Withheld {
			return int64(v.in.TextBytes)
		}
		v.say()
		return int64(len(v.text))
	}}, // the size of message.text
	{"message.signedBytes", cel.IntType, func(v *vars) any { return int64(v.in.Bytes) }},       // the size of the signed envelope
	{"message.payload", cel.DynType, func(v *vars) any { v.needPayload(); return v.parsed() }}, // the peer's own JSON

	{"request.offeredIntents", cel.ListType(cel.StringType), peer(func(p *core.Peer) any { return p.Offered })}, // the intents that it offers
	{"request.invite", cel.StringType, func(v *vars) any {
		if r := v.in.Request; r != nil && r.Invite != nil {
			return r.Invite.Token
		}
		return ""
	}}, // the code of the invite that it follows
	{"request.urlVerified", cel.BoolType, func(v *vars) any { return v.in.URLVerified }},      // the gateway at peer.gatewayUrl shows the asker's key
	{"request.domain", cel.StringType, peer(func(p *core.Peer) any { return Domain(p.URL) })}, // the host of peer.gatewayUrl: a claim unless request.urlVerified
}

// byName finds the place of a name.
var byName = func() map[string]int {
	if len(names) > maxNames {
		panic("rules: maxNames")
	}
	out := map[string]int{}
	for i := range names {
		out[names[i].name] = i
	}
	return out
}()

const maxNames = 40

// Domain is the host of a URL, in lower case; empty where there is none.
func Domain(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// vars are the names of one question, each read when an expression wants it. They
// are a value, too, so that functions can be handed them.
type vars struct {
	in             *Input
	said, read     bool
	text, priority string
	payload        any
	counts         map[string]int
	values         [maxNames]ref.Val // those that were read
	withheld       bool              // the payload was wanted and is not known
}

// ResolveName gives a name's value.
func (v *vars) ResolveName(n string) (any, bool) {
	if n == self {
		return v, true
	}
	i, ok := byName[n]
	if !ok {
		return nil, false
	}
	if v.values[i] == nil {
		v.values[i] = types.DefaultTypeAdapter.NativeToValue(names[i].read(v))
	}
	return v.values[i], true
}

// Parent is nil: there are no other names.
func (v *vars) Parent() cel.Activation { return nil }

func (v *vars) needPayload() { v.withheld = v.withheld || v.in.Withheld }

func (v *vars) say() {
	if !v.said && v.in.Words != nil {
		v.text, v.priority = v.in.Words()
	}
	v.said = true
}

func (v *vars) parsed() any {
	if !v.read && v.in.Message != nil && len(v.in.Message.Payload) > 0 {
		_ = json.Unmarshal(v.in.Message.Payload, &v.payload) // it came through core/envelope and is JSON
	}
	v.read = true
	return v.payload
}

// CountKey is the name in Verdict.Counts of how many messages came within a window: of
// all intents, where intent is empty.
func CountKey(window time.Duration, intent string) string {
	key := core.FormatDuration(window)
	if intent != "" {
		key += " " + intent
	}
	return key
}

// recent counts, and notes what it counted: a replay has the same count then.
func (v *vars) recent(window time.Duration, intent string) int {
	key := CountKey(window, intent)
	if n, ok := v.counts[key]; ok {
		return n
	}
	n := 0
	if v.in.Recent != nil {
		n = v.in.Recent(window, intent)
	}
	if v.counts == nil {
		v.counts = map[string]int{}
	}
	v.counts[key] = n
	return n
}

// self is the name under which functions are handed the vars. No expression can
// write it.
const self = "@in"

var selfType = cel.OpaqueType("ogp.question")

var _ ref.Val = (*vars)(nil)

// ConvertToNative is of no use here.
func (v *vars) ConvertToNative(reflect.Type) (any, error) { return v, nil }

// ConvertToType is of no use here.
func (v *vars) ConvertToType(ref.Type) ref.Val { return v }

// Equal holds for the same question.
func (v *vars) Equal(other ref.Val) ref.Val { return types.Bool(v == other) }

// Type is opaque.
func (v *vars) Type() ref.Type { return selfType }

// Value is the vars themselves.
func (v *vars) Value() any { return v }
