package gateway_test

import (
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestL6BeforeTheMemoryIsFilled: between its start and the end of filling its memory
// of nonces, a gateway lets nothing in twice, and new messages once.
func TestL6BeforeTheMemoryIsFilled(t *testing.T) {
	r := newRig(t, nil)
	p := befriend(t, r.Gateway, nil)
	body := p.message(t, r.Key(), nil)
	first, err := r.ReceiveMessage(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	r.restart() // and it does not run
	got, err := r.ReceiveMessage(t.Context(), body)
	if err != nil || got.Status != first.Status || string(got.Body) != string(first.Body) {
		t.Errorf("the same bytes again: %d %s, %v, want %d %s", got.Status, got.Body, err, first.Status, first.Body)
	}
	if _, err := r.ReceiveMessage(t.Context(), p.message(t, r.Key(), func(m *core.Message) { m.Nonce = "new" })); err != nil {
		t.Errorf("a new message: %v, want it to be let in", err)
	}
	if n := len(inbox(t, r.store)); n != 2 {
		t.Errorf("%d messages are kept, want 2", n)
	}
}
