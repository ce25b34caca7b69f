package agent_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/agent"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// back is a gateway whose notifier brings answers back.
type back struct {
	us, bob *coretest.Gateway
	role    atomic.Pointer[agent.Role]
	most    brake.Use
}

func newBack(t *testing.T, answer func([]core.Notice) core.Outcome) *back {
	t.Helper()
	b := &back{bob: coretest.New(t)}
	b.us = coretest.New(t, coretest.WithStore("sqlite"), coretest.WithDelivery(func(o *delivery.Options) {
		o.Reply = func(ctx context.Context, d *core.Delivery, r core.Reply) error {
			return b.role.Load().ReplyBack(ctx, d, r)
		}
	}))
	b.us.Notifier.Answer(func(_ context.Context, n []core.Notice) core.Outcome {
		if n[0].Event.Message == nil {
			return core.Outcome{Status: core.OutcomeDelivered}
		}
		return answer(n)
	})
	b.open(t)
	coretest.Federate(t, b.us, b.bob)
	return b
}

func (b *back) open(t *testing.T) {
	t.Helper()
	role, err := agent.New(t.Context(), agent.Options{Gateway: b.us.Gateway, Store: b.us.Store, PerDay: func() brake.Use { return b.most }})
	if err != nil {
		t.Fatal(err)
	}
	b.role.Store(role)
}

// asks has bob ask, and gives his question.
func (b *back) asks(t *testing.T) *core.OutboxItem {
	t.Helper()
	out, err := b.bob.Send(t.Context(), b.us.Key(), gateway.Sending{Intent: core.IntentMessage, Payload: core.Raw(`{"text":"when?"}`), WantReply: true})
	if err != nil || out.Err != nil {
		t.Fatal(err, out.Err)
	}
	return out.Item
}

func (b *back) answered(t *testing.T, q *core.OutboxItem) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.bob.AwaitReply(ctx, q)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return string(r.Reply.Data) + r.Reply.Error
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func text(s string) *core.Reply {
	return &core.Reply{Success: true, Data: core.Raw(`{"text":"` + s + `"}`)}
}

// An answer that a notifier brings back is sent once: it and the notice that brought it are
// one commit, so that after a crash before it the notifier is asked again, and after it no
// more. A message that has its answer gets no second one.
func TestG3AnswerComesBackOnce(t *testing.T) {
	var calls atomic.Int32
	b := newBack(t, func([]core.Notice) core.Outcome {
		calls.Add(1)
		return core.Outcome{Status: core.OutcomeDelivered, Reply: text("at nine")}
	})
	var tries atomic.Int32
	b.us.Store.OnCommit(func(c *core.Change) error {
		for _, r := range c.Replies {
			if r.Ours && len(c.Delivered) != 1 {
				t.Errorf("the answer is kept apart from its notice: %+v", c)
			}
			if r.Ours && tries.Add(1) == 1 {
				return errors.New("killed here")
			}
		}
		return nil
	})
	q := b.asks(t)
	until(t, "the first try", func() bool { return tries.Load() >= 1 }) // the second comes soon
	b.us.Restart()                                                      // OnCommit ends with the old store
	b.open(t)
	if got := b.answered(t, q); got != `{"text":"at nine"}` {
		t.Errorf("the answer is %s", got)
	}
	until(t, "nothing waits", func() bool {
		d, err := b.us.Store.Depths(t.Context(), 0)
		return err == nil && d.Deliveries == 0 && d.Outbox == 0
	})
	n := calls.Load()
	b.us.Restart()
	b.open(t)
	time.Sleep(50 * time.Millisecond)
	if calls.Load() != n {
		t.Errorf("asked again after the answer was kept")
	}
	replied := 0
	page, err := b.us.Store.Events(t.Context(), "", 500)
	for _, e := range page {
		if e.Type == core.EventAgentReplied && strings.Contains(string(e.Data), `"notifier":"recorder"`) {
			replied++
		}
	}
	if err != nil || replied != 1 {
		t.Errorf("%d events of an answer, %v; want 1 that names the notifier", replied, err)
	}
}

// The agent answered by itself: what the notifier brings is left out, and nothing fails.
func TestG3SecondAnswerIsLeftOut(t *testing.T) {
	var b *back
	b = newBack(t, func(n []core.Notice) core.Outcome {
		_, _ = b.us.InboxReply(context.Background(), n[0].Event.ID, *text("by the tool"), true)
		return core.Outcome{Status: core.OutcomeDelivered, Reply: text("by the notifier")}
	})
	if got := b.answered(t, b.asks(t)); got != `{"text":"by the tool"}` {
		t.Errorf("the answer is %s", got)
	}
	until(t, "nothing waits", func() bool {
		d, err := b.us.Store.Depths(t.Context(), 0)
		return err == nil && d.Deliveries+d.DeadDeliveries == 0
	})
}

// What the agent may send within a day bounds its answers, too: one over it waits.
func TestG3AnswersAreCounted(t *testing.T) {
	b := newBack(t, func([]core.Notice) core.Outcome {
		return core.Outcome{Status: core.OutcomeDelivered, Reply: text("yes")}
	})
	b.most = brake.Use{Messages: 1}
	b.answered(t, b.asks(t))
	q := b.asks(t)
	until(t, "the second waits", func() bool {
		list, err := b.us.Dispatcher.List(t.Context(), core.DeliveryFilter{Limit: 5})
		return err == nil && len(list) == 1 && !list[0].Dead && strings.Contains(list[0].Error, "the answer waits") && list[0].Attempts == 0
	})
	if _, err := b.bob.Store.Reply(t.Context(), b.us.Key(), q.Nonce); !errors.Is(err, core.NotFound) {
		t.Errorf("the second answer: %v, want none", err)
	}
}
