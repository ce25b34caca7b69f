package hooks_test

import (
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// A notifier answers messages only where its manifest asks for that power and the operator
// has granted it, and only what is one message.
func TestP3AnsweringIsAPowerOfItsOwn(t *testing.T) {
	says := says(t, `{"status":"delivered","reply":{"text":"at nine"}}`)
	message := core.Notice{Event: core.Event{ID: "1", Type: core.EventMessage, Message: &core.InboxMessage{ID: "1", Message: core.Message{Intent: "message"}}}}
	warning := core.Notice{Event: core.Event{ID: "2", Type: core.EventWarning}}
	for _, c := range []struct {
		asks, granted bool
		notice        core.Notice
		answers       bool
	}{{true, true, message, true}, {true, false, message, false}, {false, true, message, false}, {true, true, warning, false}} {
		m := newManager(t, hooks.Options{})
		apply(t, m, hooks.Wanted{Hooks: []plugin.Hook{plugin.Notify}, Spec: plugin.Spec{Name: "speaks", Bytes: says,
			Manifest: &plugin.Manifest{Name: "speaks", Replies: c.asks}, Grants: plugin.Grants{Replies: c.granted}}})
		o := m.Notifiers()[0].Notify(t.Context(), []core.Notice{c.notice})
		if o.Status != core.OutcomeDelivered || (o.Reply != nil) != c.answers || c.answers && string(o.Reply.Data) != `{"text":"at nine"}` {
			t.Errorf("asks %v, granted %v, %s: %+v, want an answer %v", c.asks, c.granted, c.notice.Event.Type, o, c.answers)
		}
		v := view(t, m, "speaks")
		if may := c.asks && c.granted; v.Replies != may || (v.Ignored == 1) == may || (strings.Join(v.Missing, "") == plugin.MayReply) != (c.asks && !c.granted) {
			t.Errorf("asks %v, granted %v: %+v", c.asks, c.granted, v)
		}
	}
}

func TestReplyOfANotifierIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"status":"delivered","reply":{"text":"yes"}}`:                                   `{"text":"yes"}`,
		`{"status":"delivered","reply":{"data":[1]}}`:                                     `[1]`,
		`{"status":"delivered","reply":{"error":"no"}}`:                                   "error no",
		`{"status":"delivered","reply":null}`:                                             "none",
		`{"status":"working","retryAfterSeconds":2}`:                                      "none",
		`{"status":"delivered","reply":{}}`:                                               "want one",
		`{"status":"delivered","reply":{"text":""}}`:                                      "want one",
		`{"status":"delivered","reply":{"text":"a","error":"b"}}`:                         "want one",
		`{"status":"delivered","reply":"yes"}`:                                            `"reply" has the wrong type`,
		`{"status":"delivered","reply":{"text":7}}`:                                       `"reply/text" has the wrong type`,
		`{"status":"retry","reply":{"text":"yes"}}`:                                       "goes with delivered",
		`{"status":"working","reply":{"text":"yes"}}`:                                     "goes with delivered",
		`{"status":"delivered","reply":{"text":"` + strings.Repeat("a", 48<<10+1) + `"}}`: "at most 49152",
	} {
		a, err := hooks.Answer(core.HookNotify, []byte(text))
		got := "none"
		if o, _ := a.(core.Outcome); o.Reply != nil {
			got = string(o.Reply.Data)
			if o.Reply.Error != "" {
				got = "error " + o.Reply.Error
			}
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%.80s = %s, want %s", text, got, want)
		}
	}
}
