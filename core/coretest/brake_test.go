package coretest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// How an agent of the model answers.
type manner int

const (
	byMessage manner = iota // a new message, as agents of old gateways do
	inTalk                  // a message in the same conversation
	byReply                 // a reply
)

// circle is a ring of gateways whose agents answer everything: each sends what it has heard
// on to the next. Those that are new have a brake; the others leave no marks.
type circle struct {
	all  []*coretest.Gateway
	sent atomic.Int64 // messages that agents have sent
	most int64        // after which the agents keep still, so that a model that fails ends
}

func newCircle(t *testing.T, kinds string, how manner, turns int) *circle {
	t.Helper()
	c := &circle{most: 200}
	open := coretest.WithSettings(func(s *ours.Settings) { s.Levels = scope.Levels{Default: scope.LevelFull} })
	for _, kind := range kinds {
		opts := []coretest.Option{open}
		if kind == 'n' {
			opts = append(opts, coretest.WithBrake(func() brake.Settings { return brake.Settings{MaxTurns: turns} }))
		}
		c.all = append(c.all, coretest.New(t, opts...))
	}
	for i, g := range c.all {
		next := c.all[(i+1)%len(c.all)]
		if len(c.all) > 2 || i == 0 {
			coretest.Federate(t, g, next)
		}
		g.Notifier.Answer(func(_ context.Context, notices []core.Notice) core.Outcome {
			for _, n := range notices {
				if m := n.Event.Message; m != nil && c.sent.Load() < c.most {
					c.answer(g, next, m, how)
				}
			}
			return core.Outcome{Status: core.OutcomeDelivered}
		})
	}
	return c
}

func (c *circle) answer(g, next *coretest.Gateway, m *core.InboxMessage, how manner) {
	if how == byReply {
		_, _ = g.InboxReply(context.Background(), m.ID, core.Reply{Success: true, Data: core.Raw(`{"text":"yes"}`)}, true)
		return
	}
	talk := ""
	if how == inTalk {
		talk = m.Message.ConversationID
	}
	out, err := g.Send(context.Background(), next.Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(fmt.Sprintf(`{"text":"answer %d"}`, c.sent.Load())),
		ConversationID: talk, ByAgent: true})
	if err == nil && out.Item != nil {
		c.sent.Add(1)
	}
}

// run has a human send the first message, and waits until the agents have sent so many,
// and nothing moves any more.
func (c *circle) run(t *testing.T, least int64) int64 {
	t.Helper()
	out, err := c.all[0].Send(t.Context(), c.all[1].Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"begin"}`), ConversationID: "talk"})
	if err != nil || out.Err != nil {
		t.Fatal(err, out.Err)
	}
	coretest.Await(t, fmt.Sprintf("the agents have sent %d messages", least), func() bool { return c.sent.Load() >= least })
	last, since := int64(-1), time.Now()
	for time.Since(since) < 700*time.Millisecond {
		if now := c.sent.Load(); now != last {
			last, since = now, time.Now()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return last
}

// Agents that answer everything stop: by the chain after the second round where all carry
// it, and by the limit of turns where somebody does not.
func TestG2Circles(t *testing.T) {
	const turns = 4
	for _, test := range []struct {
		kinds string
		how   manner
		most  int64 // messages that the agents send
		least int64
	}{
		{"nn", byMessage, 3, 3}, {"nn", inTalk, 3, 3}, // with the human's, two rounds of two; the last one is refused
		{"nnn", byMessage, 5, 5}, {"nnn", inTalk, 5, 5}, // and two of three
		{"no", byMessage, 4*turns + 4, turns}, {"on", byMessage, 4*turns + 4, turns}, {"no", inTalk, 4*turns + 4, turns}, {"on", inTalk, 4*turns + 4, turns},
		{"nno", byMessage, 4 * (turns + 2), turns}, {"non", byMessage, 4 * (turns + 2), turns}, {"onn", inTalk, 4 * (turns + 2), turns}, {"noo", byMessage, 4 * (turns + 2), turns},
		{"oo", byMessage, 1000, 200}, // without a brake they would go on
		{"nn", byReply, 0, 0}, {"no", byReply, 0, 0},
	} {
		t.Run(fmt.Sprintf("%s-%d", test.kinds, test.how), func(t *testing.T) {
			t.Parallel()
			c := newCircle(t, test.kinds, test.how, turns)
			if n := c.run(t, test.least); n > test.most || n < test.least {
				t.Errorf("the agents sent %d messages, want %d to %d", n, test.least, test.most)
			}
		})
	}
}

// What ends a circle is final, told once on each side, and holds for no other message.
func TestG2LoopIsFinal(t *testing.T) {
	c := newCircle(t, "nn", byMessage, 20)
	c.run(t, 3)
	a, b := c.all[0], c.all[1]
	var refused []*core.OutboxItem
	coretest.Await(t, "one is refused", func() bool {
		refused = nil
		for _, g := range c.all {
			items, err := g.Store.Outbox(t.Context(), core.OutboxFilter{State: core.OutRefused})
			if err != nil {
				t.Fatal(err)
			}
			refused = append(refused, items...)
		}
		return len(refused) > 0
	})
	if len(refused) != 1 || !strings.Contains(refused[0].Error, "circle") || !strings.Contains(string(refused[0].Answer), "loop") {
		t.Errorf("%d messages were refused, want 1: %q and %s", len(refused), refused[0].Error, refused[0].Answer)
	}
	for _, g := range c.all {
		if n := len(g.Notifier.Notified(core.EventWarning)); n > 1 {
			t.Errorf("told %d times", n)
		}
	}
	a.Notifier.Answer(nil)
	b.Notifier.Answer(nil)
	for _, from := range [][2]*coretest.Gateway{{a, b}, {b, a}} { // the humans go on
		out, err := from[0].Send(t.Context(), from[1].Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"hello"}`), ConversationID: "talk"})
		if err != nil || out.Err != nil {
			t.Errorf("a human's message after it: %v %v", err, out.Err)
		}
	}
}

// An ordinary question, its answer and a thank-you are never refused or held, whoever
// carries marks and however they are sent, time and again.
func TestG2OrdinaryTalk(t *testing.T) {
	for _, kinds := range []string{"nn", "no", "on"} {
		for _, how := range []manner{byMessage, inTalk} {
			c := newCircle(t, kinds, how, 20)
			a, b := c.all[0], c.all[1]
			a.Notifier.Answer(nil)
			b.Notifier.Answer(nil)
			say := func(from, to *coretest.Gateway, text, talk string, byAgent bool) {
				t.Helper()
				n := len(to.Notifier.Notified(core.EventMessage))
				out, err := from.Send(t.Context(), to.Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"` + text + `"}`), ConversationID: talk, ByAgent: byAgent})
				if err != nil || out.Err != nil {
					t.Fatalf("%s, %d: %s: %v %v", kinds, how, text, err, out.Err)
				}
				to.Notifier.Await(t, n+1, core.EventMessage)
			}
			for i := range 4 {
				talk := ""
				if how == inTalk {
					talk = fmt.Sprintf("talk-%d", i)
				}
				say(a, b, "question", talk, false)
				say(b, a, "answer", talk, true)
				say(a, b, "thanks", talk, true)
			}
		}
	}
}

// A chain that is full ends, wherever it comes from.
func TestG2Depth(t *testing.T) {
	a := coretest.New(t, coretest.WithBrake(func() brake.Settings { return brake.Settings{} }))
	b := coretest.New(t, coretest.WithBrake(func() brake.Settings { return brake.Settings{} }))
	coretest.Federate(t, a, b)
	marks := brake.New(brake.Options{Settings: func() brake.Settings { return brake.Settings{} }})
	if why := marks.Loops(strings.Repeat("x.", 7) + "x"); why != "depth" {
		t.Errorf("eight marks: %q, want depth", why)
	}
	for _, hops := range []string{"", "x", strings.Repeat("x.", 6) + "x", "....", strings.Repeat(".", 6)} {
		if why := marks.Loops(hops); why != "" {
			t.Errorf("%q: %q, want nothing", hops, why)
		}
	}
	if why := marks.Loops(strings.Repeat("x.", 100_000)); why != "depth" {
		t.Errorf("too many marks: %q, want depth", why)
	}
}

// A chain goes on after a restart, in its conversation and without one.
func TestG2ChainOutlivesARestart(t *testing.T) {
	for _, talk := range []string{"talk", ""} {
		c := newCircle(t, "nn", inTalk, 20)
		a, b := c.all[0], c.all[1]
		a.Notifier.Answer(nil)
		b.Notifier.Answer(nil)
		say := func(from, to *coretest.Gateway, byAgent bool) (hops int) {
			t.Helper()
			n := len(to.Notifier.Notified(core.EventMessage))
			out, err := from.Send(t.Context(), to.Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"x"}`), ConversationID: talk, ByAgent: byAgent})
			if err != nil || out.Err != nil {
				t.Fatal(err, out.Err)
			}
			m := to.Notifier.Await(t, n+1, core.EventMessage)[n].Event.Message.Message
			return strings.Count(m.Hops, ".") + 1
		}
		say(a, b, false)
		b.Restart()
		if n := say(b, a, true); n != 2 {
			t.Errorf("conversation %q: %d marks after a restart, want both", talk, n)
		}
	}
}

// The turn limit holds after a restart, too.
func TestG2Restart(t *testing.T) {
	turns := 3
	c := newCircle(t, "no", inTalk, turns)
	c.run(t, int64(turns))
	a, b := c.all[0], c.all[1]
	held := func() int {
		list, err := a.Store.Inbox(t.Context(), core.InboxFilter{Status: core.InboxHeld})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	coretest.Await(t, "one is held", func() bool { return held() > 0 })
	a.Notifier.Answer(nil)
	a.Restart()
	if held() == 0 {
		t.Fatal("nothing is held")
	}
	if _, err := a.Send(t.Context(), b.Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"x"}`), ConversationID: "talk", ByAgent: true}); !errors.Is(err, core.RateLimited) {
		t.Errorf("the agent sends on: %v, want RateLimited", err)
	}
}
