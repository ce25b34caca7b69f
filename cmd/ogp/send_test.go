package main

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestT6RepliesAreHarmless prints replies of every form with the nasty text in
// them.
func TestT6RepliesAreHarmless(t *testing.T) {
	quoted, err := json.Marshal(nasty)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]core.Reply{
		"text":   {Success: true, Data: core.Raw(`{"text":` + string(quoted) + `}`)},
		"string": {Success: true, Data: core.Raw(quoted)},
		"object": {Success: true, Data: core.Raw(`{` + string(quoted) + `:[` + string(quoted) + `]}`)},
		"error":  {Error: nasty},
		"denied": {Error: nasty, Data: core.Raw(`{"status":"rejected"}`)},
	} {
		t.Run(name, func(t *testing.T) {
			got := replyText(&r, theyRejected)
			if i := strings.IndexFunc(got, dangerous); i >= 0 || !strings.Contains(got, "Bob") {
				t.Errorf("printed %q, want the text without what a terminal acts on", got)
			}
		})
	}
}

// A reply that turns a held message down says so, and by whom.
func TestReplyText(t *testing.T) {
	for _, c := range []struct {
		reply core.Reply
		want  string
	}{
		{core.Reply{Success: true, Data: core.Raw(`{"text":"fine"}`)}, "fine"},
		{core.Reply{Error: "no such day"}, "error: no such day"},
		{core.Reply{Error: "no such day", Data: core.Raw(`{"status":"failed"}`)}, "error: no such day"},
		{core.Reply{Error: "not today", Data: core.Raw(`{"status":"rejected","reason":"not today"}`)}, "the peer's operator rejected it: not today"},
		{core.Reply{Data: core.Raw(`{"status":"rejected"}`)}, "the peer's operator rejected it"},
	} {
		if got := replyText(&c.reply, theyRejected); got != c.want {
			t.Errorf("replyText(%+v) = %q, want %q", c.reply, got, c.want)
		}
	}
}
