package answer

import "strings"

// missingMessage is the one refusal of a message that the field gives without the shape
// of messages.
const missingMessage = "Missing message or signature"

// texts are the refusals of the gateways in the field. An answer without the shape of
// messages is a gateway's no only with one of them. A text that ends in "…" stands for
// all that begin so, one that begins with it for all that end so.
//
// docs/protocol.md#answers
var texts = []string{
	"Missing payloadStr or signature",
	"payloadStr is not valid JSON",
	"Missing peer.publicKey in payload",
	"Signature verification failed: …",
	"Missing peer or signature",
	NoPending,
	"fromPublicKey does not match stored peer publicKey",
	"Missing required fields: …",
	"Unknown peer",
	"Invalid signature",
	"Invalid or stale timestamp",
	missingMessage,
	"Peer not approved",
	"Unknown intent: …",
	"Unknown agent: …",
	"Project '…",
	"Missing reply or signature",
	"Missing identity or signature",
	"Peer not found - no existing federation",
	"Cannot update identity - peer is not approved",
}

// ours are the refusals that our own gateways add. Some are words that any server uses, so
// that they count from a peer that has shown v2 alone, and in answer to a request, for
// which its card has just been read.
var ours = []string{
	"A gateway cannot federate with itself",
	"Agent '…",
	"A different reply was received already",
	"Federation request refused",
	"Intent '…",
	"Invalid approval",
	"Invalid identity",
	"Invalid message",
	"Invalid messageStr",
	"Invalid nonce",
	"Invalid payloadStr",
	"Invalid peer",
	"Invalid peer.gatewayUrl",
	"Invalid peer.publicKey",
	"Invalid removal",
	"Invalid reply",
	"Invalid replyStr",
	"Invalid request",
	"Invalid scopeGrants",
	"Invalid status",
	"Invalid v2 signature block",
	"JSON nests too deep",
	"Malformed JSON",
	"Message is addressed to another gateway",
	"Message refused by policy",
	"Message too large for intent …",
	"Missing nonce",
	"No reply is expected under this nonce",
	"Nonce already used for another message",
	"Not a signed …",
	"Peer still reports this gateway as approved",
	"Request body too large",
	"Request headers too large",
	"The removal is older than the federation",
	"The reply is for another nonce",
	"This topic is not open to you here.",
	"Too many identity updates without a time",
	"Topic '…",
	"Unsupported media type",
	"replyTo must be at the sender's gateway URL",
	"v2 signature …",
	"… differs from payloadStr",
	"… differs from messageStr",
	"… differs from replyStr",
	"… is not valid JSON",
}

// lost are the refusals of a gateway that has us approved no more.
var lost = []string{"Unknown peer", "Peer not approved", "Peer not found - no existing federation", "Cannot update identity - peer is not approved"}

// HasLostUs reports whether a gateway's no means that it has us approved no more.
func HasLostUs(j Judged) bool { return j.Verdict == No && fits(lost, j.Said) }

// passing are the texts by which gateways say "not now". They decide nothing, as the
// status does, but show that a gateway has spoken.
var passing = []string{
	"Cannot store now",
	"Failed to persist approved peer state",
	"Failed to update peer status",
	"Handler unavailable",
	"Internal server error",
	"No space to store it",
	"Policy unavailable",
	"Rate limit exceeded …",
	"Request timeout",
	"Too many federation requests …",
	"Too many requests",
}

// unread are those of ours that are given before an envelope's kind is known.
var unread = []string{"Request body too large", "Request headers too large", "Unsupported media type"}

// listed reports whether a text is one that gateways refuse with.
func listed(to Endpoint, text string, t Try) bool {
	return fits(texts, text) || (t.V2 || to == Request) && fits(ours, text)
}

func fits(list []string, text string) bool {
	for _, t := range list {
		start, isPrefix := strings.CutSuffix(t, "…")
		end, isSuffix := strings.CutPrefix(t, "…")
		switch {
		case isPrefix && strings.HasPrefix(text, start), isSuffix && strings.HasSuffix(text, end), text == t:
			return true
		}
	}
	return false
}
