package hooks

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// verdictView is a policy's answer: to a request with grants, to a message with a level.
type verdictView struct {
	Decision core.Decision `json:"decision"`
	Reason   string        `json:"reason"`
	Code     string        `json:"code"`
	Grants   grantList     `json:"grants"`
	Level    string        `json:"level"`
}

// grantList are the grants of an answer. A list that is there and empty grants nothing,
// where none at all means what the operator allows: a policy that picks its grants may find
// none.
type grantList struct {
	given bool
	all   []grantView
}

func (l *grantList) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	l.given = true
	return json.UnmarshalDecode(d, &l.all)
}

type grantView struct {
	Intent    string          `json:"intent"`
	Enabled   *bool           `json:"enabled"`
	RateLimit *core.RateLimit `json:"rateLimit"`
	ByteLimit *core.ByteLimit `json:"byteLimit"`
	Topics    []string        `json:"topics"`
	Personas  []string        `json:"personas"`
	ExpiresAt string          `json:"expiresAt"`
}

// unmarshal reads an answer. The error says which member it is about.
func unmarshal(output []byte, into any, how ...json.Options) error {
	err := json.Unmarshal(output, into, how...)
	var s *json.SemanticError
	if !errors.As(err, &s) {
		return err
	}
	at := strings.TrimPrefix(string(s.JSONPointer), "/")
	if errors.Is(err, json.ErrUnknownName) {
		return fmt.Errorf("its member %q is unknown in an approval", at)
	}
	return fmt.Errorf("its member %q has the wrong type: a JSON %v", at, s.JSONKind)
}

// readVerdictView reads what the answers to requests and messages have in common. An
// answer that says nothing known is an error: a policy that cannot say lets nothing
// pass.
func readVerdictView(output []byte) (v verdictView, err error) {
	if err := unmarshal(output, &v); err != nil {
		return v, err
	}
	switch v.Decision {
	case core.Allow, core.Deny, core.Hold, core.Abstain:
		return v, checkCode(v.Code)
	}
	return v, fmt.Errorf("decision %q: want allow, deny, hold or abstain", v.Decision)
}

// maxCode is the longest code of a refusal in bytes.
const maxCode = 64

// checkCode looks at what a policy says for programs. Its reason is for people, may repeat
// what a peer wrote, and is cut where it is shown: no peer shall make a policy fail by
// writing much.
func checkCode(code string) error {
	if len(code) > maxCode {
		return fmt.Errorf("a code of %d bytes: want at most %d", len(code), maxCode)
	}
	if strings.ContainsFunc(code, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return fmt.Errorf("code %q: want letters, digits and signs without spaces", code)
	}
	return nil
}

// levels are those that a policy may advise.
var levels = []string{scope.LevelFull, scope.LevelSummary, scope.LevelEscalate, scope.LevelDeny}

// readVerdict reads the answer to a message.
func readVerdict(output []byte) (core.Verdict, error) {
	v, err := readVerdictView(output)
	switch {
	case err != nil:
		return core.Verdict{}, err
	case len(v.Grants.all) > 0:
		return core.Verdict{}, errors.New("grants are an answer to a request, and this is a message")
	case v.Level != "" && !slices.Contains(levels, v.Level):
		return core.Verdict{}, fmt.Errorf("level %q: want one of %s", v.Level, strings.Join(levels, ", "))
	}
	return core.Verdict{Decision: v.Decision, Reason: v.Reason, Code: v.Code, Level: v.Level}, nil
}

// readApproval reads the answer to a request.
func readApproval(output []byte) (core.Verdict, error) {
	v, err := readVerdictView(output)
	if err == nil && v.Decision == core.Allow { // a misspelt member would count as left out, which grants more
		err = unmarshal(output, new(verdictView), json.RejectUnknownMembers(true))
	}
	switch {
	case err != nil:
		return core.Verdict{}, err
	case v.Level != "":
		return core.Verdict{}, errors.New("a level is an answer to a message, and this is a request")
	case len(v.Grants.all) > 0 && v.Decision != core.Allow:
		return core.Verdict{}, fmt.Errorf("grants beside the decision %q", v.Decision)
	}
	out := core.Verdict{Decision: v.Decision, Reason: v.Reason, Code: v.Code}
	if v.Decision == core.Allow && v.Grants.given && len(v.Grants.all) == 0 {
		out.Decision, out.Reason = core.Hold, cmp.Or(v.Reason, "it would grant nothing")
	}
	for i, g := range v.Grants.all {
		if err := g.check(); err != nil {
			return core.Verdict{}, fmt.Errorf("grant %d%w", i+1, err)
		}
		if g.Enabled == nil || *g.Enabled {
			out.Grants = append(out.Grants, core.Grant{Intent: g.Intent, Enabled: true, RateLimit: g.RateLimit, ByteLimit: g.ByteLimit,
				Topics: g.Topics, Personas: g.Personas, ExpiresAt: g.ExpiresAt})
		}
	}
	if len(v.Grants.all) > 0 && len(out.Grants) == 0 { // an empty list would mean the defaults
		return core.Verdict{}, errors.New("none of its grants is enabled")
	}
	return out, nil
}

// check looks at a grant. Its error goes on after "grant 1".
func (g grantView) check() error {
	inWindow := func(seconds int) bool { return seconds > 0 && seconds <= int(core.MaxRateWindow/time.Second) }
	const days = core.MaxRateWindow / (24 * time.Hour)
	switch {
	case g.Intent == "":
		return errors.New(" names no intent")
	case g.RateLimit != nil && (g.RateLimit.Requests <= 0 || !inWindow(g.RateLimit.WindowSeconds)):
		return fmt.Errorf(": rateLimit: want requests above 0, over 1 second to %d days", days)
	case g.ByteLimit != nil && (g.ByteLimit.Bytes <= 0 || !inWindow(g.ByteLimit.WindowSeconds)):
		return fmt.Errorf(": byteLimit: want bytes above 0, over 1 second to %d days", days)
	case slices.Contains(g.Topics, ""), slices.Contains(g.Personas, ""):
		return errors.New(": an empty topic or persona")
	case g.Topics != nil && len(g.Topics) == 0, g.Personas != nil && len(g.Personas) == 0:
		return errors.New(": topics or personas without one: without the member, all are meant")
	}
	if g.ExpiresAt != "" {
		if _, err := core.ParseTime(g.ExpiresAt); err != nil {
			return fmt.Errorf(": expiresAt %q: want a time such as 2027-01-31T00:00:00Z", g.ExpiresAt)
		}
	}
	return nil
}

// readOutcome reads a notifier's answer.
func readOutcome(output []byte) (core.Outcome, error) {
	var v struct {
		Status            core.OutcomeStatus `json:"status"`
		RetryAfterSeconds float64            `json:"retryAfterSeconds"`
		Detail            string             `json:"detail"`
		Tokens            int64              `json:"tokens"`
		Reply             *replyView         `json:"reply"`
		Notified          []string           `json:"notified"`
	}
	if err := unmarshal(output, &v); err != nil {
		return core.Outcome{}, err
	}
	switch {
	case v.RetryAfterSeconds < 0:
		return core.Outcome{}, fmt.Errorf("retryAfterSeconds %v: want 0 or more", v.RetryAfterSeconds)
	case v.Tokens < 0:
		return core.Outcome{}, fmt.Errorf("tokens %d: want 0 or more", v.Tokens)
	case v.Reply != nil && v.Status != core.OutcomeDelivered:
		return core.Outcome{}, fmt.Errorf("a reply beside the status %q: it goes with delivered", v.Status)
	case v.Detail == "" && (v.Status == core.OutcomeFailed || v.Status == core.OutcomeSetup):
		return core.Outcome{}, fmt.Errorf("status %q without a detail, which says why", v.Status)
	}
	switch v.Status {
	case core.OutcomeDelivered, core.OutcomeFailed, core.OutcomeSetup:
		o := core.Outcome{Status: v.Status, Detail: v.Detail, Tokens: v.Tokens, Notified: v.Notified}
		var err error
		if v.Reply != nil {
			o.Reply, err = v.Reply.reply()
		}
		return o, err
	case core.OutcomeRetry, core.OutcomeWorking:
		after := min(v.RetryAfterSeconds, maxRetryAfter.Seconds())
		return core.Outcome{Status: v.Status, RetryAfter: time.Duration(after * float64(time.Second)), Detail: v.Detail, Notified: v.Notified}, nil
	}
	return core.Outcome{}, fmt.Errorf("status %q: want delivered, working, retry, setup or failed", v.Status)
}

// replyView is a notifier's answer to the peer: one of its members.
type replyView struct {
	Text  string   `json:"text"`
	Data  core.Raw `json:"data"`
	Error string   `json:"error"`
}

// maxReply bounds a notifier's answer, in bytes: with its escapes it fits into an envelope.
const maxReply = 48 << 10

func (v *replyView) reply() (*core.Reply, error) {
	given := 0
	for _, is := range []bool{v.Text != "", len(v.Data) > 0, v.Error != ""} {
		if is {
			given++
		}
	}
	switch n := len(v.Text) + len(v.Data) + len(v.Error); {
	case given != 1:
		return nil, errors.New("its reply has none, or several, of text, data and error: want one")
	case n > maxReply:
		return nil, fmt.Errorf("its reply has %d bytes: want at most %d", n, maxReply)
	case v.Error != "":
		return &core.Reply{Error: v.Error}, nil
	case v.Text != "":
		data, err := json.Marshal(map[string]string{"text": v.Text})
		return &core.Reply{Success: true, Data: data}, err
	}
	return &core.Reply{Success: true, Data: v.Data}, nil
}

// maxRetryAfter is the longest pause that a notifier can ask for.
const maxRetryAfter = time.Hour

// readAnswer reads a handler's answer.
func readAnswer(output []byte) (core.HandlerAnswer, error) {
	var v struct {
		Status string   `json:"status"`
		Data   core.Raw `json:"data"`
		Error  string   `json:"error"`
	}
	if err := unmarshal(output, &v); err != nil {
		return core.HandlerAnswer{}, err
	}
	switch {
	case v.Status != "ok" && v.Status != "error":
		return core.HandlerAnswer{}, fmt.Errorf("status %q: want ok or error", v.Status)
	case v.Status == "error" && v.Error == "":
		return core.HandlerAnswer{}, errors.New(`status "error" without an error, which says what is wrong`)
	case v.Status == "ok" && v.Error != "":
		return core.HandlerAnswer{}, errors.New(`an error beside the status "ok"`)
	}
	return core.HandlerAnswer{OK: v.Status == "ok", Data: v.Data, Error: v.Error}, nil
}

// bounded is a verdict as far as a policy has the power to give it: without the power
// to approve strangers its approval says nothing, and with it it grants no more than
// most.
func bounded(v core.Verdict, may bool, most []core.Grant) core.Verdict {
	switch {
	case v.Decision != core.Allow:
		return v
	case !may:
		return core.Verdict{Decision: core.Abstain, Reason: "it may not approve strangers"}
	}
	grants := scope.Narrow(v.Grants, most)
	if len(grants) == 0 && len(v.Grants)+len(most) > 0 { // an empty list would mean the defaults
		return core.Verdict{Decision: core.Hold, Reason: cmp.Or(v.Reason, "it would grant what it may not")}
	}
	v.Grants = grants
	return v
}
