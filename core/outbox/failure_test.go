package outbox

import (
	"errors"
	"testing"

	"github.com/opengatewayprotocol/ogp/core"
)

// Who asks after the engine has tried an envelope hears what the try itself said: its
// kind, and what to do about it.
func TestFailureOf(t *testing.T) {
	for _, c := range []struct {
		item core.OutboxItem
		want core.Kind // empty: no failure
	}{
		{core.OutboxItem{State: core.OutSent, Error: "of an earlier try", Hint: "nothing"}, ""},
		{core.OutboxItem{State: core.OutWaiting, Error: "no route", Hint: "look"}, core.Unreachable},
		{core.OutboxItem{State: core.OutWaiting, Answered: true, Error: "not pending", Hint: "ask again"}, core.Refused},
		{core.OutboxItem{State: core.OutRefused, Error: "no", Hint: "ask"}, core.Refused},
		{core.OutboxItem{State: core.OutExpired, Error: "given up"}, core.Unreachable},
	} {
		err := failureOf(&c.item)
		if c.want == "" {
			if err != nil {
				t.Errorf("%+v: %v, want none", c.item, err)
			}
			continue
		}
		var e *core.Error
		if !errors.As(err, &e) || e.Kind != c.want || e.Error() != c.item.Error || e.Hint != c.item.Hint {
			t.Errorf("%+v: %#v, want %s with its text and its hint", c.item, err, c.want)
		}
		if hintOf(err) != c.item.Hint {
			t.Errorf("hintOf = %q, want %q", hintOf(err), c.item.Hint)
		}
	}
}
