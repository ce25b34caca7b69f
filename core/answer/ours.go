package answer

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// These are the answers that we give, in the shapes of the field. Receipts keep them as
// they are, so that the same envelope gets the same bytes again.

type received struct {
	Received bool   `json:"received"`
	Status   string `json:"status,omitempty"`
	PeerID   string `json:"peerId,omitempty"`
	Message  string `json:"message,omitempty"`
}

// Known is what is said to a request of a peer that waits or is approved already.
const Known = "already-pending-or-approved"

func encode(v any) core.Raw {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // our own types, which always encode
	}
	return b
}

func ok(v any) core.Answer { return core.Answer{Status: http.StatusOK, Body: encode(v)} }

// Received is the 200 to an approval or a reply.
func Received() core.Answer { return ok(received{Received: true}) }

// Pending is the 200 to a request.
func Pending() core.Answer {
	return ok(received{Received: true, Status: string(core.Pending), Message: "Federation request received and pending approval"})
}

// AlreadyKnown is the 200 to a request that changes nothing.
func AlreadyKnown(id string) core.Answer {
	return ok(received{Received: true, Status: Known, PeerID: id})
}

// RequestStatus is what a gateway says of a request that it has taken.
func RequestStatus(body []byte) string {
	var said received
	if json.Unmarshal(body, &said) != nil || said.Status == "" {
		return string(core.Pending)
	}
	return said.Status
}

// Plain is a refusal outside messages.
func Plain(status int, text string) core.Answer {
	return core.Answer{Status: status, Body: encode(map[string]string{"error": text})}
}

// RemovalTaken is the 200 to a removal notice.
func RemovalTaken(id string) core.Answer {
	return ok(struct {
		Success bool   `json:"success"`
		PeerID  string `json:"peerId"`
		Status  string `json:"status"`
	}{true, id, string(core.Removed)})
}

// IdentityTaken is the 200 to an identity.
func IdentityTaken() core.Answer {
	return ok(struct {
		Updated bool   `json:"updated"`
		Message string `json:"message"`
	}{true, "Identity updated successfully"})
}

// Response says what became of a message that was taken.
type Response struct {
	Received      bool     `json:"received"`
	Topic         string   `json:"topic,omitempty"`
	Timestamp     string   `json:"timestamp"`
	ReplyEndpoint string   `json:"replyEndpoint,omitempty"`
	Status        string   `json:"status,omitempty"` // of a handler: ok or error
	Data          core.Raw `json:"data,omitempty"`
	Error         string   `json:"error,omitempty"`
}

type message struct {
	Success  bool       `json:"success"`
	Nonce    core.Nonce `json:"nonce"`
	Response Response   `json:"response"`
}

// MessageTaken is the 200 to a message.
func MessageTaken(nonce core.Nonce, r Response) core.Answer { return ok(message{true, nonce, r}) }

type refusalBody struct {
	Success    bool     `json:"success"`
	Error      string   `json:"error"`
	StatusCode int      `json:"statusCode"`
	RetryAfter int      `json:"retryAfter,omitzero"` // seconds
	Response   core.Raw `json:"response,omitempty"`
}

func refused(status int, e *core.Error) refusalBody {
	text := e.Public
	if text == "" {
		text = "Internal server error"
	}
	return refusalBody{Error: text, StatusCode: status, RetryAfter: int(core.RoundUp(e.RetryAfter) / time.Second), Response: e.Detail}
}

// Refusal is the answer to a message that is answered with an error.
func Refusal(status int, e *core.Error) core.Answer {
	return core.Answer{Status: status, Body: encode(refused(status, e))}
}

// Rejected is the refusal of a message, with a reason for programs and words for people,
// which may be empty.
//
// The field signs it, no version looks at the signature, and a text that we sign on demand
// would pass elsewhere for a message. docs/threat-model.md#t11
func Rejected(text, reason, words string) core.Answer {
	e := core.Refuse(core.Forbidden, text)
	e.Detail = encode(struct {
		Status  string `json:"status"`
		Reason  string `json:"reason"`
		Message string `json:"message,omitempty"`
	}{"rejected", reason, words})
	return Refusal(http.StatusForbidden, e)
}

// Status is the answer to a confirmation, with our signature over it.
//
// docs/protocol.md#confirmation
func Status(nonce core.Nonce, approved bool, at time.Time, v2 core.Raw) core.Answer {
	if approved {
		return ok(struct {
			message `json:",inline"`
			V2      core.Raw `json:"v2"`
		}{message{true, nonce, Response{Received: true, Timestamp: core.FormatTime(at), Status: string(core.Approved)}}, v2})
	}
	return core.Answer{Status: http.StatusForbidden, Body: encode(struct {
		refusalBody `json:",inline"`
		V2          core.Raw `json:"v2"`
	}{refused(http.StatusForbidden, core.Refuse(core.NotApproved, "Peer not approved")), v2})}
}

type polled struct {
	Nonce     core.Nonce   `json:"nonce"`
	Status    string       `json:"status"`
	Message   string       `json:"message,omitempty"`
	Reply     *polledReply `json:"reply,omitempty"`
	ReplyStr  string       `json:"replyStr,omitempty"`
	Signature string       `json:"signature,omitempty"`
	V2        core.Raw     `json:"v2,omitempty"`
}

type polledReply struct {
	Success   bool     `json:"success"`
	Data      core.Raw `json:"data,omitempty"`
	Error     string   `json:"error,omitempty"`
	Timestamp string   `json:"timestamp"`
}

// NoReplyYet is the answer to who polls for a reply that is not there.
func NoReplyYet(nonce core.Nonce) core.Answer {
	return core.Answer{Status: http.StatusNotFound, Body: encode(polled{Nonce: nonce, Status: "pending", Message: "Reply not yet available"})}
}

// Polled is the answer to who polls for a reply of ours.
func Polled(nonce core.Nonce, r *core.StoredReply) core.Answer {
	return ok(polled{Nonce: nonce, Status: "complete",
		Reply:    &polledReply{r.Reply.Success, r.Reply.Data, r.Reply.Error, r.Reply.Timestamp},
		ReplyStr: r.Text, Signature: r.Sig, V2: r.V2})
}

// ReplyIn gives the signed reply in what a gateway answers to a poll, as one would be
// posted; nil where it holds none.
func ReplyIn(body []byte) ([]byte, error) {
	var got struct {
		ReplyStr  string         `json:"replyStr"`
		Signature string         `json:"signature"`
		V2        jsontext.Value `json:"v2"`
	}
	if err := json.Unmarshal(body, &got); err != nil || !strings.HasPrefix(got.ReplyStr, "{") {
		return nil, err
	}
	return json.Marshal(map[string]any{"reply": jsontext.Value(got.ReplyStr), "replyStr": got.ReplyStr,
		"signature": got.Signature, "v2": got.V2}, json.Deterministic(true))
}

// IsReceipt reports whether a reply says no more than that the message came: what
// gateways of 0.4 to 0.7 send before any answer.
func IsReceipt(r *core.Reply) bool {
	var data map[string]jsontext.Value
	if !r.Success || json.Unmarshal(r.Data, &data) != nil || len(data) != 1 {
		return false
	}
	return string(data["received"]) == "true"
}

// SameReply reports whether two replies to one message say the same: one that was signed
// anew, as the answer to it got lost, has another time.
func SameReply(a, b core.Reply) bool {
	return a.Success == b.Success && a.Error == b.Error && bytes.Equal(a.Data, b.Data)
}
