package sdk

// What a [Request] asks about.
const (
	KindRequest = "request" // a stranger asks to federate
	KindMessage = "message" // an approved peer sent a message
)

// Request is what a policy decides about.
type Request struct {
	// Kind is KindRequest or KindMessage.
	Kind string
	// Now is the host's time, the only clock a policy has.
	Now Time
	// Peer is who asks or sends.
	Peer Peer
	// Message is what was sent. Of KindMessage only.
	Message Message
	// Federation is what was asked. Of KindRequest only.
	Federation Federation
	// JSON is the whole input, for what has no field here.
	JSON Value
}

// Peer is another gateway as ours knows it.
type Peer struct {
	// Alias is our own name for it, or "" for a stranger. Nobody else can set it.
	Alias string
	// Fingerprint is of its full key, for people to compare.
	Fingerprint string
	// ID is its short label. Labels can collide; Alias and Fingerprint do not.
	ID string
	// State is the trust: requested, pending, approved, rejected or removed.
	State string
	// GatewayURL is where it says it lives: routing, never identity.
	GatewayURL string
	// Names are what it calls itself. Nothing about them is verified.
	Names Names
	// JSON is the peer as it came.
	JSON Value
}

// Names are what a gateway says about itself. They are a stranger's words: never a
// reason to trust, and never shown without a mark that says so.
type Names struct {
	Display, Human, Agent, Organization, Email string
}

// Message is a letter that a peer sent, verified and within its grants.
type Message struct {
	ID             string
	Intent         string
	Topic          string
	Priority       string // low, normal or high
	ConversationID string
	ToAgent        string // the persona it is for; "" is the primary one
	Level          string // the agent-comms level that applies: full, summary, escalate, deny
	Bytes          int64  // of the signed text
	Payload        Value  // the peer's own JSON
	JSON           Value
}

// Text is what the message says to a reader, by its intent: the text, the description,
// the message or the status of its payload, else the payload's JSON.
func (m *Message) Text() string {
	for _, name := range textMembers {
		if v := m.Payload.Get(name); v.Kind() == Text {
			return v.Text()
		}
	}
	if m.Payload.Kind() == Text {
		return m.Payload.Text()
	}
	return m.Payload.JSON()
}

var textMembers = [...]string{"text", "message", "description", "summary", "status"}

// Federation is a request to federate.
type Federation struct {
	// OfferedIntents are those that the asker would let us use.
	OfferedIntents []string
	// Invite is the code of an invitation of ours that it came with, or "".
	Invite string
	// URLVerified says that the host fetched the card at Peer.GatewayURL and found the
	// asker's key in it. Without it the URL is a mere claim.
	URLVerified bool
}

// Verdict is a policy's word.
type Verdict string

// The verdicts. For a request, allow approves with the grants given and deny rejects; for
// a message, deny refuses it. Hold leaves either to the human.
const (
	VerdictAllow   Verdict = "allow"
	VerdictDeny    Verdict = "deny"
	VerdictHold    Verdict = "hold"
	VerdictAbstain Verdict = "abstain"
)

// Decision is a policy's answer. The zero Decision abstains.
type Decision struct {
	Verdict Verdict
	// Reason is for people: the operator, and with deny the peer.
	Reason string
	// Code is for programs, such as "too_big". With deny it reaches the peer.
	Code string
	// Grants are what an approved peer may do. With none, the configured defaults apply.
	Grants []Grant
	// Level is advice that travels to the agent: full, summary, escalate or deny.
	Level string

	failure string
}

// Grant lets a peer use one intent.
type Grant struct {
	Intent string
	// Topics narrow agent-comms; none means all.
	Topics []string
	// Requests in WindowSeconds is the rate. Zero means the configured default.
	Requests, WindowSeconds int64
}

// Allow lets it pass. For a request it approves with the grants given.
func Allow(grants ...Grant) Decision { return Decision{Verdict: VerdictAllow, Grants: grants} }

// Deny refuses. The code is for programs, the reason for people; both reach the peer.
func Deny(code, reason string) Decision {
	return Decision{Verdict: VerdictDeny, Code: code, Reason: reason}
}

// Hold leaves it to the human.
func Hold(code, reason string) Decision {
	return Decision{Verdict: VerdictHold, Code: code, Reason: reason}
}

// Abstain has no opinion.
func Abstain() Decision { return Decision{Verdict: VerdictAbstain} }

// CannotSay is for a policy that could not decide. The host then fails closed.
func CannotSay(why string) Decision { return Decision{failure: why} }

// The types of events. New ones may come; a notifier treats an unknown type by its text.
const (
	EventMessage  = "message"
	EventRequest  = "federation.request"
	EventApproved = "federation.approved"
	EventRejected = "federation.rejected"
	EventRemoved  = "federation.removed"
	EventDigest   = "federation.digest"
	EventReply    = "reply"
	EventFailed   = "delivery.failed"
	EventWarning  = "warning"
)

// Event is something the agent or the operator should hear of.
type Event struct {
	// ID is a ULID, the same at every attempt: the key to tell repeats by.
	ID   string
	Type string
	At   Time
	Peer Peer
	// Message is the letter, for the types message and reply.
	Message Message
	// By says which side acted, where one did: "us" or "them".
	By string
	// Text is a line for people written by our gateway. It holds no word of a peer's.
	Text string
	// Data is what else belongs to the type: an object, or missing.
	Data Value
	// Attempt counts from 1.
	Attempt int64
	// JSON is the event as it came.
	JSON Value
}

// Status is how a notification went.
type Status string

// The statuses.
const (
	StatusDelivered Status = "delivered"
	StatusRetry     Status = "retry"
	StatusFailed    Status = "failed"
)

// Outcome is a notifier's answer.
type Outcome struct {
	Status Status
	// RetryAfter is how long to wait at least, in seconds. Zero leaves it to the host.
	RetryAfter int64
	// Detail is for the operator: with StatusFailed, what to change.
	Detail string
}

// Delivered says that the event arrived.
func Delivered() Outcome { return Outcome{Status: StatusDelivered} }

// Retry asks for another attempt, after the given seconds or when the host sees fit (0).
func Retry(afterSeconds int64, detail string) Outcome {
	return Outcome{Status: StatusRetry, RetryAfter: afterSeconds, Detail: detail}
}

// Failed says that trying again unchanged is no use. The detail names the remedy.
func Failed(detail string) Outcome { return Outcome{Status: StatusFailed, Detail: detail} }

// Call is a message that a handler answers.
type Call struct {
	Now     Time
	Peer    Peer
	Message Message
	JSON    Value
}

// Answer is a handler's word, which becomes the message's response.
type Answer struct {
	data    string
	err     string
	failed  bool
	notMine bool
}

// Reply answers with data.
func Reply(data *Object) Answer { return Answer{data: data.JSON()} }

// ReplyError answers that it cannot be done. The text reaches the peer.
func ReplyError(text string) Answer { return Answer{err: text, failed: true} }

// NotMine leaves the message to the next handler, or to the default.
func NotMine() Answer { return Answer{notMine: true} }

func peerOf(v Value) Peer {
	p := Peer{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "alias":
			p.Alias = v.Text()
		case "fingerprint":
			p.Fingerprint = v.Text()
		case "id":
			p.ID = v.Text()
		case "state":
			p.State = v.Text()
		case "gatewayUrl":
			p.GatewayURL = v.Text()
		case "names":
			p.Names = namesOf(v)
		}
	}
	return p
}

func namesOf(v Value) (n Names) {
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "displayName":
			n.Display = v.Text()
		case "humanName":
			n.Human = v.Text()
		case "agentName":
			n.Agent = v.Text()
		case "organization":
			n.Organization = v.Text()
		case "email":
			n.Email = v.Text()
		}
	}
	return n
}

// Intents are those that we grant the peer.
func (p *Peer) Intents() []string {
	var all []string
	p.JSON.Get("grants").Each(func(_ string, g Value) bool {
		if g.Kind() == Text {
			all = append(all, g.Text())
		} else if intent := g.Get("intent").Text(); intent != "" {
			all = append(all, intent)
		}
		return true
	})
	return all
}

func messageOf(v Value) Message {
	msg := Message{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "id":
			msg.ID = v.Text()
		case "intent":
			msg.Intent = v.Text()
		case "topic":
			msg.Topic = v.Text()
		case "priority":
			msg.Priority = v.Text()
		case "conversationId":
			msg.ConversationID = v.Text()
		case "toAgent":
			msg.ToAgent = v.Text()
		case "level":
			msg.Level = v.Text()
		case "bytes":
			msg.Bytes = v.Int()
		case "payload":
			msg.Payload = v
		}
	}
	return msg
}

// Timestamp is when the sender says that it sent the message; the host checked that it is near.
func (m *Message) Timestamp() Time { return timeOf(m.JSON.Get("timestamp")) }

func requestOf(v Value) *Request {
	r := &Request{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "kind":
			r.Kind = v.Text()
		case "now":
			r.Now = timeOf(v)
		case "peer":
			r.Peer = peerOf(v)
		case "message":
			r.Message = messageOf(v)
		case "request":
			r.Federation = Federation{
				OfferedIntents: v.Get("offeredIntents").Texts(),
				Invite:         inviteOf(v.Get("invite")),
				URLVerified:    v.Get("urlVerified").Bool(),
			}
		}
	}
	return r
}

// inviteOf takes the code itself, or an object that carries it.
func inviteOf(v Value) string {
	if v.Kind() == Map {
		return v.Get("code").Text()
	}
	return v.Text()
}

// eventOf reads one entry: {"event":{...},"peer":...,"message":...,"text":...}, or the
// same with the event's own members beside the others.
func eventOf(v Value, attempt int64) Event {
	head := v.Get("event")
	if head.Kind() != Map {
		head = v
	}
	text := v.Get("text")
	if !text.Exists() {
		text = head.Get("text")
	}
	return Event{
		ID: head.Get("id").Text(), Type: head.Get("type").Text(), At: timeOf(head.Get("at")),
		Peer: peerOf(v.Get("peer")), Message: messageOf(v.Get("message")), Text: text.Text(),
		By: head.Get("by").Text(), Data: head.Get("data"), Attempt: attempt, JSON: v,
	}
}

// eventsOf reads a notify input: a batch where there is one, else the single event.
func eventsOf(v Value) []Event {
	attempt := v.Get("attempt").Int()
	batch := v.Get("events")
	if batch.Kind() != Array || batch.Len() == 0 {
		return []Event{eventOf(v, attempt)}
	}
	var all []Event
	batch.Each(func(_ string, e Value) bool {
		all = append(all, eventOf(e, attempt))
		return true
	})
	return all
}

func (d Decision) json() string {
	verdict := d.Verdict
	if verdict == "" {
		verdict = VerdictAbstain
	}
	var o Object
	o.Text("decision", string(verdict)).TextIf("reason", d.Reason).TextIf("code", d.Code)
	if len(d.Grants) > 0 {
		grants := make([]*Object, len(d.Grants))
		for i, g := range d.Grants {
			grants[i] = g.object()
		}
		o.Objects("grants", grants)
	}
	return o.TextIf("level", d.Level).JSON()
}

func (g Grant) object() *Object {
	o := new(Object).Text("intent", g.Intent).Bool("enabled", true)
	if len(g.Topics) > 0 {
		o.Texts("topics", g.Topics)
	}
	if g.Requests > 0 && g.WindowSeconds > 0 {
		o.Object("rateLimit", new(Object).Int("requests", g.Requests).Int("windowSeconds", g.WindowSeconds))
	}
	return o
}

// RateOf reads a rate as people write it, "100/3600": requests in seconds.
func RateOf(s string) (requests, windowSeconds int64, ok bool) {
	for i := range s {
		if s[i] != '/' {
			continue
		}
		requests, ok1 := ParseInt(s[:i])
		window, ok2 := ParseInt(s[i+1:])
		return requests, window, ok1 && ok2 && requests > 0 && window > 0
	}
	return 0, 0, false
}

func (o Outcome) json() string {
	status := o.Status
	if status == "" {
		status = StatusFailed
	}
	var b Object
	b.Text("status", string(status))
	if o.RetryAfter > 0 {
		b.Int("retryAfterSeconds", o.RetryAfter)
	}
	return b.TextIf("detail", o.Detail).JSON()
}

func (a Answer) json() string {
	if a.failed {
		return new(Object).Text("status", "error").Text("error", a.err).JSON()
	}
	data := a.data
	if data == "" {
		data = "{}"
	}
	return new(Object).Text("status", "ok").Raw("data", data).JSON()
}
