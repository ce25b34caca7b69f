package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// fullStatus is one in which everything has something to say.
func fullStatus() api.StatusView {
	hour := time.Now().Add(-time.Hour)
	return api.StatusView{
		DisplayName: "Ada\x1b[2J", Fingerprint: "K7QF-3MZA", PID: 7, Started: hour, CardURL: "https://a.example/.well-known/ogp", Listen: "127.0.0.1:1", StateDir: "/s",
		Peers: map[string]int{"approved": 3, "pending": 1}, Health: map[string]int{"established": 2, "down": 1},
		Ailing: []api.AilingView{{Name: "ben", Word: "down", LastContact: hour, Error: "connection refused"}},
		Depths: core.Depths{Inbox: 4, InboxHeld: 1, Outbox: 2, OldestOutbox: hour},
		Notifiers: []api.NotifierView{{Health: delivery.Health{Name: "log"}},
			{Health: delivery.Health{Name: "openclaw"}, Waiting: 5, GivenUp: 6, Problems: []api.Problem{{State: "fail", Text: "failed 3 times in a row, the last: 401"}}}},
		Rendezvous: []rendezvous.Status{{URL: "https://r.example", Registered: true, At: hour}, {URL: "https://q.example", Error: "timeout"}},
		Plugins:    []api.PluginState{{Name: "small-only", State: "failed", Problems: []api.Problem{{State: "fail", Text: "not loaded: no such file"}}}},
		LastErrors: []api.EventView{{Event: core.Event{Type: core.EventWarning, At: hour, Text: "Look here."}, From: "ben"}, {Event: core.Event{Type: core.EventWarning, At: hour, Text: "And here."}}},
		Warnings:   []string{"nobody is being notified"},
	}
}

func TestStatusOnOneScreen(t *testing.T) {
	a := &cli.App{Out: &bytes.Buffer{}}
	var out bytes.Buffer
	showStatus(a, &out, fullStatus())
	want := `Gateway      Ada` + "\uFFFD" + `[2J, running since 1h ago (pid 7)
Fingerprint  K7QF-3MZA
Card         https://a.example/.well-known/ogp
Listening    127.0.0.1:1
State        /s
Peers        3 approved, 1 pending
Health       1 down, 2 established
             ben is down, last contact 1h ago: connection refused
Inbox        4 messages, 1 held
Outbox       2 waiting, the oldest from 1h ago
Notifier     log: ok, 0 waiting, 0 set aside
Notifier     openclaw: does not work, 5 waiting, 6 set aside
             failed 3 times in a row, the last: 401
Rendezvous   https://r.example: registered 1h ago
Rendezvous   https://q.example: not registered: timeout
Plugin       small-only: failed
             not loaded: no such file
Last errors  1h ago, ben: Look here.
             1h ago: And here.
Note         nobody is being notified
`
	if out.String() != want {
		t.Errorf("status:\n%swant:\n%s", out.String(), want)
	}
	if n := strings.Count(want, "\n"); n > 24 {
		t.Errorf("%d lines do not fit on one screen", n)
	}
}
