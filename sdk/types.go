package sdk

// Incoming is a message of an approved peer, verified and within its grants: what a policy
// decides about and a handler answers.
type Incoming struct {
	// Now is the host's time, the only clock a policy has.
	Now Time
	// Peer is who sent it.
	Peer Peer
	// Message is what was sent.
	Message Message
	// JSON is the whole input, for what has no field here.
	JSON Value
}

// Request is a stranger's request to federate.
type Request struct {
	// Now is the host's time, the only clock a policy has.
	Now Time
	// Peer is who asks. Nothing that it says of itself is verified.
	Peer Peer
	// OfferedIntents are those that the asker would let us use.
	OfferedIntents []string
	// Invite is the code of an invitation of ours that it came with, or "".
	Invite string
	// URLVerified says that the host fetched the card at Peer.GatewayURL and found the
	// asker's key in it. Without it the URL is a mere claim.
	URLVerified bool
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

// Message is what a peer sent, verified and within its grants.
type Message struct {
	ID             string
	Intent         string
	Topic          string
	Priority       string // low, normal or high
	ConversationID string
	ToAgent        string // the persona it is for; "" is the primary one
	Level          string // the agent-comms level that applies: full, summary, escalate, deny
	TextBytes      int64  // of what [Message.Text] gives: what somebody reads
	SignedBytes    int64  // of the whole signed envelope, some 400 more; for policies only
	Payload        Value  // the peer's own JSON
	JSON           Value
}

// Text is what the message says to a reader, by its intent: the text, the description,
// the message or the status of its payload, else the payload's JSON.
func (m *Message) Text() string {
	for _, name := range textMembers {
		if text := m.Payload.Get(name).Text(); text != "" {
			return text
		}
	}
	if text := m.Payload.Text(); text != "" {
		return text
	}
	return m.Payload.JSON()
}

var textMembers = [...]string{"text", "message", "description", "summary", "status"}

// Verdict is a policy's word.
type Verdict string

// The verdicts.
const (
	VerdictAllow   Verdict = "allow"
	VerdictDeny    Verdict = "deny"
	VerdictHold    Verdict = "hold"
	VerdictAbstain Verdict = "abstain"
)

// Decision is a policy's answer to a message. The zero Decision abstains.
type Decision struct {
	Verdict Verdict
	// Reason is for people: the operator, and with deny the peer.
	Reason string
	// Code is for programs, such as "too_big". With deny it reaches the peer.
	Code string
	// Level is advice that travels to the agent: full, summary, escalate or deny.
	Level string

	failure string
}

// Allow lets the message pass, as far as this policy minds.
func Allow() Decision { return Decision{Verdict: VerdictAllow} }

// Deny refuses the message. The code is for programs, the reason for people; both reach
// the peer.
func Deny(code, reason string) Decision {
	return Decision{Verdict: VerdictDeny, Code: code, Reason: reason}
}

// Hold keeps the message for the human; the agent does not hear of it.
func Hold(code, reason string) Decision {
	return Decision{Verdict: VerdictHold, Code: code, Reason: reason}
}

// Abstain has no opinion.
func Abstain() Decision { return Decision{Verdict: VerdictAbstain} }

// CannotSay is for a policy that could not decide. The host then fails closed.
func CannotSay(why string) Decision { return Decision{failure: why} }

// Approval is a policy's answer to a request. The zero Approval has no opinion, and the
// request waits for the human.
type Approval struct {
	Verdict Verdict
	// Reason is for people: the operator, and with a rejection the asker.
	Reason string
	// Code is for programs, such as "unverified_url".
	Code string
	// Grants are what an approved peer may do. Who would get none is left to the human.
	Grants []Grant

	atMost  bool // all that the operator allows, in place of Grants
	failure string
}

// Approve makes the stranger a peer, with the grants given. It needs approves = true in
// the manifest and the operator's grant; without them it says nothing, and the grants are
// cut to what the operator allows. With no grants it approves nobody: the request waits for
// the human.
func Approve(grants ...Grant) Approval { return Approval{Verdict: VerdictAllow, Grants: grants} }

// ApproveAtMost is Approve with all that the operator allows the policy to grant: the
// manifest's [at_most], or the gateway's default grants.
func ApproveAtMost() Approval { return Approval{Verdict: VerdictAllow, atMost: true} }

// Reject turns the asker away.
func Reject(code, reason string) Approval {
	return Approval{Verdict: VerdictDeny, Code: code, Reason: reason}
}

// Wait leaves the request to the human, whatever other policies say, unless one rejects it.
func Wait(code, reason string) Approval {
	return Approval{Verdict: VerdictHold, Code: code, Reason: reason}
}

// NoOpinion leaves the request to the other policies, and then to the human.
func NoOpinion() Approval { return Approval{Verdict: VerdictAbstain} }

// CannotJudge is for a policy that could not decide. The host then fails closed.
func CannotJudge(why string) Approval { return Approval{failure: why} }

// Grant lets a peer use one intent.
type Grant struct {
	Intent string
	// Topics narrow agent-comms; none means all.
	Topics []string
	// Requests in WindowSeconds is the rate. Zero means the configured default.
	Requests, WindowSeconds int64
	// Bytes of payload in BytesSeconds is the size. Zero means the configured default.
	Bytes, BytesSeconds int64
}

// The types of events. New ones may come; a notifier treats an unknown type by its text.
const (
	EventMessage  = "message"
	EventRequest  = "federation.request"
	EventApproved = "federation.approved"
	EventRejected = "federation.rejected"
	EventRemoved  = "federation.removed"
	EventDigest   = "federation.digest"
	EventReply    = "reply"
	EventHeld     = "message.held" // a policy left a message to the human; the message does not come along
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
	// Message is what was sent, for the types message and reply.
	Message Message
	// By says which side acted, where one did: "us" or "them".
	By string
	// Text is a line for people written by our gateway. It holds no word of a peer's.
	Text string
	// Data is what else belongs to the type: an object, or missing.
	Data Value
	// Attempt counts from 1.
	Attempt int64
	// Command is what a command for our gateway begins with: "ogp --home /srv/ogp", or
	// empty for plain "ogp".
	Command string
	// JSON is the event as it came.
	JSON Value
}

// Status is how a notification went.
type Status string

// The statuses.
const (
	StatusDelivered Status = "delivered"
	StatusWorking   Status = "working"
	StatusRetry     Status = "retry"
	StatusFailed    Status = "failed"
	StatusSetup     Status = "setup"
)

// Outcome is a notifier's answer.
type Outcome struct {
	Status Status
	// RetryAfter is how long to wait at least, in seconds. Zero leaves it to the host.
	RetryAfter int64
	// Detail is for the operator: with StatusFailed and StatusSetup, what to change.
	Detail string
	// Tokens is what the agent's model has used, where that is known.
	Tokens int64
	reply  string // JSON; empty: none
	// Notified are, by ID, those of several events that arrived although the status is that
	// of the others. They do not come again.
	Notified []string
}

// Delivered says that the event arrived.
func Delivered() Outcome { return Outcome{Status: StatusDelivered} }

// Answered says that the event, a message, arrived, and what its answer is: our gateway
// signs the text and sends it to the peer, once. It needs replies = true in plugin.toml and
// the operator's grant; without them the event counts as delivered, and nothing is sent.
func Answered(text string) Outcome { return answered(new(Object).Text("text", text)) }

// AnsweredWith is [Answered] with data.
func AnsweredWith(data *Object) Outcome { return answered(new(Object).Object("data", data)) }

// AnsweredNo is [Answered] for what cannot be done. The text reaches the peer.
func AnsweredNo(why string) Outcome { return answered(new(Object).Text("error", why)) }

func answered(reply *Object) Outcome { return Outcome{Status: StatusDelivered, reply: reply.JSON()} }

// Working says that the event was taken and is not done with: it comes again after the
// given seconds, or when the host sees fit (0). It is no failure, and holds up no other
// event.
func Working(afterSeconds int64, detail string) Outcome {
	return Outcome{Status: StatusWorking, RetryAfter: afterSeconds, Detail: detail}
}

// Retry asks for another attempt, after the given seconds or when the host sees fit (0).
func Retry(afterSeconds int64, detail string) Outcome {
	return Outcome{Status: StatusRetry, RetryAfter: afterSeconds, Detail: detail}
}

// SetUp says that nothing can be told until the operator has changed something, which
// the detail names: a token, a URL, a grant. The events wait, the operator is told once,
// and after a change they are tried at once.
func SetUp(detail string) Outcome { return Outcome{Status: StatusSetup, Detail: detail} }

// Failed says that this event itself cannot be told, now or later: it is too big, say.
// It is set aside. The detail names the remedy.
func Failed(detail string) Outcome { return Outcome{Status: StatusFailed, Detail: detail} }

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
