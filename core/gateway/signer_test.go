package gateway_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/gateway"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// signer is a key that can be out of reach.
type signer struct {
	keys.Private
	away atomic.Bool
}

func (s *signer) Sign(text []byte) (string, error) {
	if s.away.Load() {
		return "", core.Refuse(core.Unavailable, "the signer does not answer")
	}
	return s.Private.Sign(text)
}

// TestWithoutOurKey: while the key is out of reach, nothing is lost and nothing is sent,
// and what needs no signature goes on. docs/threat-model.md#k4
func TestWithoutOurKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := &signer{Private: keys.Generate()}
		r := newRig(t, func(o *gateway.Options) { o.Signer, o.Settings.Health.Interval = key, -1 })
		p := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
		gone := befriend(t, r.Gateway, func(p *core.Peer) { p.V2 = true })
		asks := newPeer(nil)
		add(t, r.Gateway, asks, core.Pending, func(p *core.Peer) { p.V2 = true })
		stop := r.run()
		defer stop()
		synctest.Wait()
		key.away.Store(true)

		if a, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Nonce = "in" })); err != nil || a.Status != 200 {
			t.Fatalf("a message = %d %s, %v, want it taken", a.Status, a.Body, err)
		}
		if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Intent = core.IntentStatus })); !errors.Is(err, core.Unavailable) {
			t.Errorf("a confirmation, which is to be signed = %v, want Unavailable", err)
		}
		out, err := r.Send(t.Context(), p.key, message(1))
		if err != nil || !errors.Is(out.Err, core.Unavailable) || out.Item.State != core.OutWaiting || out.Item.Attempts != 0 {
			t.Fatalf("Send = %+v, %v, want an envelope that waits and was not tried", out, err)
		}
		now := message(2)
		now.Now = true
		if out, err := r.Send(t.Context(), p.key, now); err != nil || out.Item.State != core.OutExpired {
			t.Errorf("Send with Now = %+v, %v, want it given up", out, err)
		}
		list, err := r.store.Inbox(t.Context(), core.InboxFilter{})
		if err != nil || len(list) != 1 {
			t.Fatalf("Inbox = %v, %v, want the message", list, err)
		}
		if _, err := r.InboxReply(t.Context(), list[0].ID, core.Reply{Success: true, Data: core.Raw(`{"a":1}`)}, false); err != nil {
			t.Errorf("InboxReply = %v, want it kept", err)
		}
		if _, err := r.PollReply(t.Context(), "in"); !errors.Is(err, core.Unavailable) {
			t.Errorf("PollReply = %v, want Unavailable", err)
		}
		if out, err := r.ApprovePeer(t.Context(), asks.key, gateway.Approval{}); err != nil || out.Item.State != core.OutWaiting {
			t.Errorf("ApprovePeer = %+v, %v, want an envelope that waits", out, err)
		}
		if removed, notified, err := r.RemovePeer(t.Context(), gone.key); err != nil || removed.Trust != core.Removed || !errors.Is(notified, core.Unavailable) {
			t.Errorf("RemovePeer = %v, %v, %v, want it removed, and not told", removed, notified, err)
		}
		if _, err := r.ReceiveMessage(t.Context(), gone.message(t, r.Key(), nil)); err == nil {
			t.Error("a message of a removed peer was taken")
		}
		time.Sleep(time.Minute)
		if n := len(r.wire.sent(core.PathMessage)) + len(r.wire.sent(core.PathApprove)) + len(r.wire.sent(core.PathRemoved)); n != 0 {
			t.Errorf("%d envelopes were sent without a signature", n)
		}
		if h := r.Health(p.key); h.Failures != 0 {
			t.Errorf("the peer counts as failing: %+v", h)
		}

		key.away.Store(false)
		time.Sleep(11 * time.Second)
		if x := item(t, r, out.Item.ID); x.State != core.OutSent || x.Attempts != 1 {
			t.Errorf("then: %s after %d attempts, want sent after 1", x.State, x.Attempts)
		}
		if n := len(r.wire.sent(core.PathApprove)); n != 1 {
			t.Errorf("%d approvals left, want 1", n)
		}
		sent := r.wire.sent(core.PathMessage)
		if len(sent) != 1 {
			t.Fatalf("%d messages left, want 1", len(sent))
		}
		if _, err := envelope.Open(&envelope.Opener{Self: p.key}, envelope.Message, sent[0].Body, envelope.From(r.Key())); err != nil {
			t.Errorf("the message does not open: %v", err)
		}
		a, err := r.PollReply(t.Context(), "in")
		if err != nil || a.Status != 200 {
			t.Fatalf("PollReply = %d, %v, want the reply", a.Status, err)
		}
	})
}
