package hooks

import (
	"cmp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/lookup"
)

// lenient replaces invalid UTF-8: an old name of a peer's must not keep a policy
// from being asked.
var lenient = json.JoinOptions(jsontext.AllowInvalidUTF8(true), json.Deterministic(true))

type peerView struct {
	Alias       string       `json:"alias"`
	Tags        []string     `json:"tags"` // the operator's words for it; [] where there are none, as Rego cannot say what is not in nothing
	Fingerprint string       `json:"fingerprint"`
	ID          string       `json:"id"`
	State       core.Trust   `json:"state"`
	GatewayURL  string       `json:"gatewayUrl"`
	Names       core.Names   `json:"names"` // nobody has verified them
	Grants      []core.Grant `json:"grants,omitempty"`
}

func viewPeer(p *core.Peer) *peerView {
	if p == nil {
		return nil
	}
	v := &peerView{Alias: p.Alias, Tags: p.Tags, Fingerprint: p.Key.Fingerprint(), ID: p.Key.ID(), State: p.Trust, GatewayURL: p.URL, Names: p.Names}
	if p.Granted != nil {
		v.Grants = p.Granted.Scopes
	}
	return v
}

type messageView struct {
	ID             core.Nonce `json:"id"`
	Intent         string     `json:"intent"`
	Topic          string     `json:"topic,omitempty"`
	Priority       string     `json:"priority,omitempty"`
	ConversationID string     `json:"conversationId,omitempty"`
	ToAgent        string     `json:"toAgent,omitempty"`
	AgentID        string     `json:"agentId,omitempty"` // of the persona it reaches, for notifiers
	Level          string     `json:"level,omitempty"`
	Timestamp      string     `json:"timestamp"`
	SignedBytes    int        `json:"signedBytes,omitzero"` // of the signed envelope, for policies
	TextBytes      int        `json:"textBytes"`            // of what it says to a reader
	ReplyWanted    bool       `json:"replyWanted,omitzero"`
	InboxID        string     `json:"inboxId,omitempty"`
	Payload        core.Raw   `json:"payload"`
}

func viewMessage(m *core.Message) *messageView {
	v := &messageView{ID: m.Nonce, Intent: m.Intent, ConversationID: m.ConversationID, ToAgent: m.ToAgent,
		Timestamp: m.Timestamp, ReplyWanted: m.ReplyTo != "", Payload: m.Payload}
	p := textOf(m)
	v.TextBytes = len(p.said)
	if m.Intent == core.IntentAgentComms {
		v.Topic, v.Priority = cmp.Or(string(p.topic), "general"), string(p.priority)
	}
	return v
}

// payloadView is what of a payload has a meaning for all intents. It may share the payload's bytes.
type payloadView struct {
	topic, priority []byte
	said            []byte // what the message says to a reader
}

// sayings are the members that may hold the text that a message says to a reader. The first that there is counts, as
// in the SDKs.
var sayings = [...]string{"text", "message", "description", "summary", "status"}

// textOf reads a message's payload. Members that are no strings read as none.
func textOf(m *core.Message) (p payloadView) {
	best := len(sayings)
	for name, value := range lookup.Members(m.Payload) {
		switch string(name) {
		case "topic":
			p.topic = lookup.Text(value)
		case "priority":
			p.priority = lookup.Text(value)
		default:
			i := slices.Index(sayings[:], string(name))
			if i < 0 || i >= best {
				continue
			}
			if text := lookup.Text(value); len(text) > 0 {
				best, p.said = i, text
			}
		}
	}
	if best == len(sayings) {
		if p.said = lookup.Text(m.Payload); len(p.said) == 0 {
			p.said = m.Payload
		}
	}
	return p
}

type requestView struct {
	OfferedIntents []string `json:"offeredIntents"`
	Invite         string   `json:"invite,omitempty"`
	URLVerified    bool     `json:"urlVerified"`
}

// texts are the texts of questions that are wanted again: the last question, which
// every policy is asked, and the peers that wrote last. Safe for concurrent use.
type texts struct {
	last atomic.Pointer[asked]

	// agent gives the agent's id behind a message's toAgent; nil gives none.
	agent func(toAgent string) string

	command string // what a command for this gateway begins with; empty: "ogp"

	mu    sync.Mutex // guards peers
	peers map[core.PublicKey]peerEntry
}

// Sized adds to the input of a case what the gateway always says of a message, and a case
// need not: how long its text is. What has it, or has no message, stays as it is.
func Sized(input []byte) []byte {
	var in, message map[string]core.Raw
	if json.Unmarshal(input, &in) != nil || json.Unmarshal(in["message"], &message) != nil || message == nil || message["textBytes"] != nil {
		return input
	}
	m := &core.Message{Payload: message["payload"]}
	message["textBytes"] = core.Raw(strconv.Itoa(len(textOf(m).said)))
	var err error
	if in["message"], err = json.Marshal(message, json.Deterministic(true)); err != nil {
		return input
	}
	out, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return input
	}
	return out
}

// question writes what a policy is asked, as sdk/ABI.md#request says. It is on every message's way, so that it
// is written by hand, and the parts that stay the same are kept.
func (t *texts) question(q core.Question) ([]byte, error) {
	if a := t.last.Load(); a != nil && a.about == aboutOf(q) {
		return a.text, nil
	}
	peer, err := t.peer(q.Peer)
	if err != nil {
		return nil, err
	}
	n := 0
	if q.Message != nil {
		n = len(q.Message.Payload)
	}
	b := make([]byte, 0, 512+n+len(peer))
	b = append(b, `{"abi":1`...)
	b = member(b, "hook", string(q.Kind))
	b = member(b, "kind", string(q.Kind))
	b = member(b, "now", core.FormatTime(q.Now))
	if q.Message != nil { // before the peer: most look at it alone
		v := viewMessage(q.Message)
		v.SignedBytes = q.Bytes
		b = v.append(append(b, `,"message":`...))
	}
	if q.Request != nil {
		r := requestView{OfferedIntents: q.Peer.Offered, URLVerified: q.URLVerified}
		if q.Request.Invite != nil {
			r.Invite = q.Request.Invite.Token
		}
		text, err := json.Marshal(r, lenient)
		if err != nil {
			return nil, err
		}
		b = append(append(b, `,"request":`...), text...)
	}
	b = append(append(append(b, `,"peer":`...), peer...), '}')
	t.last.Store(&asked{aboutOf(q), b})
	return b, nil
}

// asked is the text of a question, for the other policies that are asked it. What
// its pointers show does not change, and they are held, so that no other question
// has the same.
type asked struct {
	about about
	text  []byte
}

type about struct {
	kind    core.Hook
	now     time.Time
	peer    *core.Peer
	message *core.Message
	request *core.Request
	bytes   int
	url     bool
}

func aboutOf(q core.Question) about {
	return about{q.Kind, q.Now, q.Peer, q.Message, q.Request, q.Bytes, q.URLVerified}
}

type peerEntry struct {
	peer *core.Peer
	text []byte
}

const maxPeerTexts = 256

// peer is the text of a peer. Its record is never changed in place, so that the same
// pointer is the same text.
func (t *texts) peer(p *core.Peer) ([]byte, error) {
	if p == nil {
		return []byte("null"), nil
	}
	t.mu.Lock()
	e := t.peers[p.Key]
	t.mu.Unlock()
	if e.peer == p {
		return e.text, nil
	}
	text, err := json.Marshal(viewPeer(p), lenient)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers == nil || len(t.peers) >= maxPeerTexts {
		t.peers = map[core.PublicKey]peerEntry{}
	}
	t.peers[p.Key] = peerEntry{p, text}
	return text, nil
}

// member appends a text, if there is one.
func member(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":`...)
	b, _ = jsontext.AppendQuote(b, text) // invalid UTF-8 is replaced, and came through no envelope
	return b
}

// append writes the message as json.Marshal would.
func (v *messageView) append(b []byte) []byte {
	b = append(b, `{"textBytes":`...)
	b = strconv.AppendInt(b, int64(v.TextBytes), 10)
	if v.SignedBytes > 0 {
		b = strconv.AppendInt(append(b, `,"signedBytes":`...), int64(v.SignedBytes), 10)
	}
	b = member(b, "id", string(v.ID))
	b = member(b, "intent", v.Intent)
	b = member(b, "topic", v.Topic)
	b = member(b, "priority", v.Priority)
	b = member(b, "conversationId", v.ConversationID)
	b = member(b, "toAgent", v.ToAgent)
	b = member(b, "agentId", v.AgentID)
	b = member(b, "level", v.Level)
	b = member(b, "timestamp", v.Timestamp)
	b = member(b, "inboxId", v.InboxID)
	if v.ReplyWanted {
		b = append(b, `,"replyWanted":true`...)
	}
	b = append(b, `,"payload":`...)
	if len(v.Payload) == 0 {
		return append(b, `null}`...)
	}
	return append(append(b, v.Payload...), '}')
}

// handled is a message that a handler answers.
type handled struct {
	peer    *core.Peer
	message *core.Message
	now     time.Time
}

// handled writes what a handler is asked. sdk/ABI.md#handle
func (*texts) handled(q handled) ([]byte, error) {
	return json.Marshal(struct {
		ABI     int          `json:"abi"`
		Hook    core.Hook    `json:"hook"`
		Now     string       `json:"now"`
		Peer    *peerView    `json:"peer"`
		Message *messageView `json:"message"`
	}{1, core.HookHandle, core.FormatTime(q.now), viewPeer(q.peer), viewMessage(q.message)}, lenient)
}

type noticeView struct {
	Event   eventView    `json:"event"`
	Peer    *peerView    `json:"peer,omitempty"`
	Message *messageView `json:"message,omitempty"`
	Text    string       `json:"text,omitempty"`
}

type eventView struct {
	ID   string         `json:"id"`
	Type core.EventType `json:"type"`
	At   string         `json:"at"`
	By   string         `json:"by,omitempty"`
	Data core.Raw       `json:"data,omitempty"`
}

type notifyInput struct {
	ABI        int       `json:"abi"`
	Hook       core.Hook `json:"hook"`
	noticeView `json:",inline"`
	Attempt    int          `json:"attempt"`
	Command    string       `json:"command,omitempty"`
	Events     []noticeView `json:"events,omitempty"`
}

// NotifyInput writes what a notifier is told. agent gives the agent's id behind a
// message's toAgent; nil gives none. command is what a command for this gateway begins
// with; empty: "ogp". sdk/ABI.md#notify
func NotifyInput(notices []core.Notice, agent func(toAgent string) string, command string) ([]byte, error) {
	views := make([]noticeView, len(notices))
	for i, n := range notices {
		e := n.Event
		views[i] = noticeView{Event: eventView{e.ID, e.Type, core.FormatTime(e.At), e.By, e.Data}, Peer: viewPeer(n.Peer), Text: e.Text}
		if e.Message != nil {
			v := viewMessage(&e.Message.Message)
			v.Level, v.InboxID = e.Message.Level, e.Message.ID
			if agent != nil {
				v.AgentID = agent(e.Message.Message.ToAgent)
			}
			views[i].Message = v
		}
	}
	in := notifyInput{ABI: 1, Hook: core.HookNotify, noticeView: views[0], Attempt: notices[0].Attempt, Command: command}
	if len(views) > 1 {
		in.Events = views
	}
	return json.Marshal(in, lenient)
}

func (t *texts) notices(n []core.Notice) ([]byte, error) { return NotifyInput(n, t.agent, t.command) }

// Asked is the question that a kept message was, as far as what is kept can tell:
// the peer as it is now, and the size of the text as we would write it.
func Asked(p *core.Peer, m *core.InboxMessage) core.Question {
	q := core.Question{Kind: core.HookMessage, Now: m.At, Peer: p, Message: &m.Message, Topic: viewMessage(&m.Message).Topic}
	if text, err := json.Marshal(m.Message); err == nil {
		q.Bytes = len(text)
	}
	return q
}
