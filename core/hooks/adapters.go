package hooks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// The inputs and answers of the hooks. sdk/ABI.md

// lenient replaces invalid UTF-8: an old name of a peer's must not keep a policy
// from being asked.
var lenient = jsontext.AllowInvalidUTF8(true)

type peerView struct {
	Alias       string       `json:"alias"`
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
	v := &peerView{Alias: p.Alias, Fingerprint: p.Key.Fingerprint(), ID: p.Key.ID(), State: p.Trust, GatewayURL: p.URL, Names: p.Names}
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
	Bytes          int        `json:"bytes"`
	ReplyWanted    bool       `json:"replyWanted,omitzero"`
	InboxID        string     `json:"inboxId,omitempty"`
	Payload        core.Raw   `json:"payload"`
}

func viewMessage(m *core.Message) *messageView {
	v := &messageView{ID: m.Nonce, Intent: m.Intent, ConversationID: m.ConversationID, ToAgent: m.ToAgent,
		Timestamp: m.Timestamp, Bytes: len(m.Payload), ReplyWanted: m.ReplyTo != "", Payload: m.Payload}
	if m.Intent == core.IntentAgentComms {
		var a core.AgentComms
		if json.Unmarshal(m.Payload, &a) == nil {
			v.Topic, v.Priority = a.Topic, a.Priority
		}
		if v.Topic == "" {
			v.Topic = "general"
		}
	}
	return v
}

type requestView struct {
	OfferedIntents []string `json:"offeredIntents,omitempty"`
	Invite         string   `json:"invite,omitempty"`
	URLVerified    bool     `json:"urlVerified"`
}

// PolicyInput writes what a policy is asked. It is on every message's way, so that
// it is written by hand, and the parts that stay the same are kept.
// sdk/ABI.md#policy
func PolicyInput(q core.Question) ([]byte, error) {
	if a := lastAsked.Load(); a != nil && a.about == aboutOf(q) {
		return a.text, nil
	}
	peer, err := peerText(q.Peer)
	if err != nil {
		return nil, err
	}
	n := 0
	if q.Message != nil {
		n = len(q.Message.Payload)
	}
	b := make([]byte, 0, 512+n+len(peer))
	b = append(b, `{"abi":1,"hook":"policy"`...)
	b = member(b, "kind", q.Kind)
	b = member(b, "now", core.FormatTime(q.Now))
	b = append(append(b, `,"peer":`...), peer...)
	if q.Message != nil {
		v := viewMessage(q.Message)
		v.Bytes = q.Bytes
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
	b = append(b, '}')
	lastAsked.Store(&asked{aboutOf(q), b})
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
	kind    string
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

var lastAsked atomic.Pointer[asked]

// peerTexts are the texts of the peers that wrote last, by key. A peer's record is
// never changed in place, so that the same pointer is the same text.
var peerTexts = struct {
	sync.Mutex
	byKey map[core.PublicKey]peerEntry
}{byKey: map[core.PublicKey]peerEntry{}}

type peerEntry struct {
	peer *core.Peer
	text []byte
}

const maxPeerTexts = 256

func peerText(p *core.Peer) ([]byte, error) {
	if p == nil {
		return []byte("null"), nil
	}
	peerTexts.Lock()
	e := peerTexts.byKey[p.Key]
	peerTexts.Unlock()
	if e.peer == p {
		return e.text, nil
	}
	text, err := json.Marshal(viewPeer(p), lenient)
	if err != nil {
		return nil, err
	}
	peerTexts.Lock()
	defer peerTexts.Unlock()
	if len(peerTexts.byKey) >= maxPeerTexts {
		clear(peerTexts.byKey)
	}
	peerTexts.byKey[p.Key] = peerEntry{p, text}
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
	b = append(b, `{"bytes":`...)
	b = strconv.AppendInt(b, int64(v.Bytes), 10)
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

// ReadVerdict reads a policy's answer. An answer that says nothing known is an
// error: a policy that cannot say lets nothing pass.
func ReadVerdict(output []byte) (core.Verdict, error) {
	var v struct {
		Decision core.Decision `json:"decision"`
		Reason   string        `json:"reason"`
		Code     string        `json:"code"`
		Grants   []struct {
			Intent    string          `json:"intent"`
			Enabled   *bool           `json:"enabled"`
			RateLimit *core.RateLimit `json:"rateLimit"`
			Topics    []string        `json:"topics"`
			Personas  []string        `json:"personas"`
			ExpiresAt string          `json:"expiresAt"`
		} `json:"grants"`
		Level string `json:"level"`
	}
	if err := json.Unmarshal(output, &v); err != nil {
		return core.Verdict{}, fmt.Errorf("extension: policy answer: %w", err)
	}
	switch v.Decision {
	case core.Allow, core.Deny, core.Hold, core.Abstain:
	default:
		return core.Verdict{}, fmt.Errorf("extension: policy answered decision %q; want allow, deny, hold or abstain", v.Decision)
	}
	out := core.Verdict{Decision: v.Decision, Reason: v.Reason, Code: v.Code}
	if slices.Contains([]string{"full", "summary", "escalate", "deny"}, v.Level) {
		out.Level = v.Level
	}
	for _, g := range v.Grants {
		if g.Intent == "" || g.Enabled != nil && !*g.Enabled {
			continue
		}
		out.Grants = append(out.Grants, core.Grant{Intent: g.Intent, Enabled: true, RateLimit: g.RateLimit,
			Topics: g.Topics, Personas: g.Personas, ExpiresAt: g.ExpiresAt})
	}
	return out, nil
}

// policyOf is a plugin as a policy.
type policyOf struct {
	name    string
	p       *plugin.Plugin
	refused *atomic.Int64
}

var _ core.Policy = policyOf{}

func (a policyOf) Name() string { return a.name }

func (a policyOf) Decide(ctx context.Context, q core.Question) (core.Verdict, error) {
	// A policy that names intents is asked about those alone.
	if q.Message != nil && !concerns(a.p.Manifest(), q.Message.Intent) {
		return core.Verdict{Decision: core.Abstain}, nil
	}
	in, err := PolicyInput(q)
	if err != nil {
		return core.Verdict{}, err
	}
	r, err := a.p.Call(ctx, plugin.Policy, in)
	if err != nil {
		return core.Verdict{}, err
	}
	if r.NotMine() {
		return core.Verdict{Decision: core.Abstain}, nil
	}
	v, err := ReadVerdict(r.Output)
	if err == nil && v.Decision == core.Deny {
		a.refused.Add(1)
	}
	return v, err
}

// concerns reports whether a policy or notifier is asked about messages of an
// intent: of those that its manifest names, or of all. A closed plugin, which has
// no manifest, is asked, and says that it is closed.
func concerns(m *plugin.Manifest, intent string) bool {
	return m == nil || len(m.Intents) == 0 || slices.Contains(m.Intents, intent)
}

// handlerOf is a plugin as a handler of intents.
type handlerOf struct {
	name string
	p    *plugin.Plugin
}

var _ core.Handler = handlerOf{}

func (a handlerOf) Name() string { return a.name }

func (a handlerOf) Intents() []string {
	if m := a.p.Manifest(); m != nil {
		return m.Intents
	}
	return nil
}

func (a handlerOf) Handle(ctx context.Context, p *core.Peer, m *core.Message) (core.HandlerAnswer, error) {
	in, err := HandlerInput(p, m, time.Now())
	if err != nil {
		return core.HandlerAnswer{}, err
	}
	r, err := a.p.Call(ctx, plugin.Handle, in)
	if errors.Is(err, plugin.Failed) { // it has said itself that it cannot
		return core.HandlerAnswer{Error: "the handler failed"}, nil
	}
	if err != nil {
		return core.HandlerAnswer{}, err
	}
	if r.NotMine() {
		return core.HandlerAnswer{Error: "nobody answers this"}, nil
	}
	var answer struct {
		Status string   `json:"status"`
		Data   core.Raw `json:"data"`
		Error  string   `json:"error"`
	}
	if err := json.Unmarshal(r.Output, &answer); err != nil {
		return core.HandlerAnswer{}, fmt.Errorf("extension: handler answer: %w", err)
	}
	if answer.Status != "ok" && answer.Status != "error" {
		return core.HandlerAnswer{}, fmt.Errorf("extension: handler answered status %q; want ok or error", answer.Status)
	}
	return core.HandlerAnswer{OK: answer.Status == "ok", Data: answer.Data, Error: answer.Error}, nil
}

// HandlerInput writes what a handler is asked. sdk/ABI.md#handle
func HandlerInput(p *core.Peer, m *core.Message, now time.Time) ([]byte, error) {
	return json.Marshal(struct {
		ABI     int          `json:"abi"`
		Hook    plugin.Hook  `json:"hook"`
		Now     string       `json:"now"`
		Peer    *peerView    `json:"peer"`
		Message *messageView `json:"message"`
	}{1, plugin.Handle, core.FormatTime(now), viewPeer(p), viewMessage(m)}, lenient)
}

// notifierOf is a plugin as a notifier.
type notifierOf struct {
	m *Manager
	s *slot
}

var _ core.Notifier = notifierOf{}

func (a notifierOf) Name() string { return a.s.name }

// maxBatch is how many events one call of a notifier that takes batches carries.
const maxBatch = 32

func (a notifierOf) Batch() int {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.s.manifest().Batch {
		return maxBatch
	}
	return 1
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
	ABI        int         `json:"abi"`
	Hook       plugin.Hook `json:"hook"`
	noticeView `json:",inline"`
	Attempt    int          `json:"attempt"`
	Events     []noticeView `json:"events,omitempty"`
}

// NotifyInput writes what a notifier is told. agent gives the agent's id behind a
// message's toAgent; nil gives none. sdk/ABI.md#notify
func NotifyInput(notices []core.Notice, agent func(toAgent string) string) ([]byte, error) {
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
	in := notifyInput{ABI: 1, Hook: plugin.Notify, noticeView: views[0], Attempt: notices[0].Attempt}
	if len(views) > 1 {
		in.Events = views
	}
	return json.Marshal(in, lenient)
}

// ready waits for the first load to end, which is no failure of the notifier's.
func (a notifierOf) ready(ctx context.Context) (*plugin.Plugin, error) {
	a.m.mu.Lock()
	p := a.s.loaded
	a.m.mu.Unlock()
	if p != nil {
		return p, nil
	}
	select {
	case <-a.s.done:
	case <-ctx.Done():
		return nil, errLoading
	}
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	if a.s.loaded == nil {
		return nil, cmp.Or(a.s.err, errClosed)
	}
	return a.s.loaded, nil
}

func (a notifierOf) Notify(ctx context.Context, notices []core.Notice) core.Outcome {
	p, err := a.ready(ctx)
	if err != nil {
		return core.Outcome{Status: core.OutcomeRetry, RetryAfter: time.Minute, Detail: "the plugin is not loaded: " + err.Error()}
	}
	notices = slices.DeleteFunc(slices.Clone(notices), func(n core.Notice) bool {
		return n.Event.Message != nil && !concerns(p.Manifest(), n.Event.Message.Message.Intent)
	})
	if len(notices) == 0 {
		return core.Outcome{Status: core.OutcomeDelivered}
	}
	in, err := NotifyInput(notices, a.m.o.HookAgent)
	if err != nil {
		return core.Outcome{Status: core.OutcomeFailed, Detail: err.Error()}
	}
	r, err := p.Call(ctx, plugin.Notify, in)
	if err != nil {
		o := core.Outcome{Status: core.OutcomeRetry, Detail: err.Error()}
		var e *plugin.Error
		if errors.As(err, &e) {
			o.RetryAfter = e.RetryAfter
		}
		return o
	}
	if r.NotMine() {
		return core.Outcome{Status: core.OutcomeDelivered}
	}
	var answer struct {
		Status            core.OutcomeStatus `json:"status"`
		RetryAfterSeconds float64            `json:"retryAfterSeconds"`
		Detail            string             `json:"detail"`
	}
	if err := json.Unmarshal(r.Output, &answer); err != nil {
		return core.Outcome{Status: core.OutcomeRetry, Detail: "its answer: " + err.Error()}
	}
	switch answer.Status {
	case core.OutcomeDelivered, core.OutcomeFailed:
		return core.Outcome{Status: answer.Status, Detail: answer.Detail}
	case core.OutcomeRetry:
		after := min(max(answer.RetryAfterSeconds, 0), 3600)
		return core.Outcome{Status: core.OutcomeRetry, RetryAfter: time.Duration(after * float64(time.Second)), Detail: answer.Detail}
	}
	return core.Outcome{Status: core.OutcomeRetry, Detail: fmt.Sprintf("it answered status %q; want delivered, retry or failed", answer.Status)}
}

// PolicyOf is a plugin as a policy, for trying it out.
func PolicyOf(p *plugin.Plugin) core.Policy { return policyOf{p.Info().Name, p, new(atomic.Int64)} }

// Asked is the question that a kept message was, as far as what is kept can tell:
// the peer as it is now, and the size of the text as we would write it.
func Asked(p *core.Peer, m *core.InboxMessage) core.Question {
	q := core.Question{Kind: "message", Now: m.At, Peer: p, Message: &m.Message, Topic: viewMessage(&m.Message).Topic}
	if text, err := json.Marshal(m.Message); err == nil {
		q.Bytes = len(text)
	}
	return q
}
