package peering_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

var at = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)

const none = core.Trust("no move")

// moves is the whole table: every state, every event, in the order of
// peering.Events.
var moves = map[core.Trust][9]core.Trust{
	// ask, asked, asked-plain, approve, approved-by, reject, rejected-by, remove, removed-by
	core.Stranger:  {core.Requested, core.Pending, core.Pending, none, none, none, none, none, none},
	core.Requested: {core.Requested, core.Approved, core.Approved, none, core.Approved, none, core.Rejected, core.Removed, core.Removed},
	core.Pending:   {core.Approved, core.Pending, core.Pending, core.Approved, none, core.Rejected, none, core.Removed, core.Removed},
	core.Approved:  {core.Requested, core.Pending, core.Approved, core.Approved, core.Approved, none, none, core.Removed, core.Removed},
	core.Rejected:  {core.Requested, core.Pending, core.Pending, none, none, none, none, core.Removed, none},
	core.Removed:   {core.Requested, core.Pending, core.Pending, none, none, none, none, none, none},
}

// full is a peer with something in every field that a move could touch.
func full(trust core.Trust) *core.Peer {
	before := at.Add(-time.Hour)
	return &core.Peer{
		Key: core.PublicKey{1}, Alias: "bobby", Label: "b", URL: "https://bob.example.test", Trust: trust, By: "x", Since: before,
		Names: core.Names{DisplayName: "Bob"}, RequestedAt: before, ApprovedAt: before, RejectedAt: before, RemovedAt: before,
		Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message"}}}, Received: &core.Bundle{}, Offered: []string{"message"},
		Levels: map[string]string{"general": "full"}, DefaultLevel: "full", V2: true, Warning: "w", SeenIDs: []string{"s"}, Features: []string{"f"},
	}
}

// TestEveryMove: every state and event, one by one.
func TestEveryMove(t *testing.T) {
	if len(peering.Events) != 9 || len(peering.States) != len(moves) {
		t.Fatalf("%d events and %d states, want 9 and %d: complete the table", len(peering.Events), len(peering.States), len(moves))
	}
	for _, state := range peering.States {
		for i, event := range peering.Events {
			want := moves[state][i]
			to, ok := peering.Next(state, event)
			if !ok {
				to = none
			}
			if to != want {
				t.Errorf("%s in %s goes to %q, want %q", event, peering.StateName(state), to, want)
			}
			checkApply(t, state, event, want)
		}
	}
	if _, ok := peering.Next("nonsense", peering.Ask); ok {
		t.Error("a state that there is not has a move")
	}
	if _, ok := peering.Next(core.Approved, "nonsense"); ok {
		t.Error("an event that there is not is a move")
	}
}

func checkApply(t *testing.T, state core.Trust, event peering.Event, want core.Trust) {
	t.Helper()
	p := full(state)
	next, err := peering.Apply(p, event, at)
	if !reflect.DeepEqual(p, full(state)) {
		t.Errorf("%s in %s changed the record that it was given", event, peering.StateName(state))
	}
	if want == none {
		if !errors.Is(err, core.Conflict) || next != nil {
			t.Errorf("%s in %s = %v, %v; want Conflict", event, peering.StateName(state), next, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s in %s = %v, want no error", event, peering.StateName(state), err)
		return
	}
	name := string(event) + " in " + peering.StateName(state)
	if next.Trust != want {
		t.Errorf("%s: trust %q, want %q", name, next.Trust, want)
	}
	if last := next.History[len(next.History)-1]; last != (core.Transition{At: at, Event: string(event), From: state, To: want}) {
		t.Errorf("%s: history ends with %+v", name, last)
	}
	if moved := want != state; moved != next.Since.Equal(at) {
		t.Errorf("%s: since %v", name, next.Since)
	}
	// What never moves.
	if next.Key != p.Key || next.URL != p.URL || next.Alias != p.Alias || !next.V2 || next.Label != p.Label || !slices.Equal(next.SeenIDs, p.SeenIDs) {
		t.Errorf("%s changed who the peer is: %+v", name, next)
	}
	// Power is kept only by a peer that was approved and stays so, or that is
	// approved at the end of a request that is under way.
	power := next.Granted != nil || next.Received != nil || next.Levels != nil || next.DefaultLevel != ""
	if wantPower := want == core.Approved || want == core.Pending && state == core.Pending; power != wantPower {
		t.Errorf("%s: has power %v, want %v", name, power, wantPower)
	}
	by := ""
	if want == core.Rejected || want == core.Removed {
		by = core.Us
		if strings.HasSuffix(string(event), "-by") {
			by = core.Them
		}
	}
	if next.By != by {
		t.Errorf("%s: by %q, want %q", name, next.By, by)
	}
	times := map[core.Trust]time.Time{core.Requested: next.RequestedAt, core.Approved: next.ApprovedAt, core.Rejected: next.RejectedAt, core.Removed: next.RemovedAt}
	if want == core.Pending && state != core.Pending {
		times[core.Pending] = next.RequestedAt
	}
	if stamp, ok := times[want]; ok && want != state && !stamp.Equal(at) {
		t.Errorf("%s: its time is %v, want %v", name, stamp, at)
	}
	if want == core.Pending && state == core.Pending && !next.RequestedAt.Equal(p.RequestedAt) {
		t.Errorf("%s: a request that is repeated lives longer", name)
	}
}

// TestT1Direction: nobody becomes approved by its own word. Whatever envelopes a
// stranger sends, in any order, it takes an act of ours.
func TestT1Direction(t *testing.T) {
	theirs := []peering.Event{peering.Asked, peering.AskedPlain, peering.ApprovedBy, peering.RejectedBy, peering.RemovedBy}
	reached := map[core.Trust]bool{core.Stranger: true, core.Rejected: true, core.Removed: true, core.Pending: true}
	for range 10 { // more rounds than there are states
		for state := range reached {
			for _, e := range theirs {
				if to, ok := peering.Next(state, e); ok {
					reached[to] = true
				}
			}
		}
	}
	if reached[core.Approved] || reached[core.Requested] {
		t.Errorf("envelopes alone lead to %v", reached)
	}
}

// TestT1ComeBack: a removed or rejected peer comes back only by a new request,
// from either side.
func TestT1ComeBack(t *testing.T) {
	for _, state := range []core.Trust{core.Removed, core.Rejected} {
		for _, e := range peering.Events {
			to, ok := peering.Next(state, e)
			asks := e == peering.Ask || e == peering.Asked || e == peering.AskedPlain
			if ok && to != core.Removed && !asks {
				t.Errorf("%s in %s leads to %s", e, state, to)
			}
			if asks && to != core.Requested && to != core.Pending {
				t.Errorf("%s in %s leads to %q, want a request", e, state, to)
			}
		}
	}
}

// TestT4NoLetterApprovesOnRejection: a rejection never leads to approved.
func TestT4NoLetterApprovesOnRejection(t *testing.T) {
	for _, state := range peering.States {
		for _, e := range []peering.Event{peering.Reject, peering.RejectedBy, peering.Remove, peering.RemovedBy} {
			if to, ok := peering.Next(state, e); ok && to != core.Rejected && to != core.Removed {
				t.Errorf("%s in %s leads to %s", e, peering.StateName(state), to)
			}
		}
	}
}

// TestOneSidedRemoval: when the side that removed asks again, the side that still
// has it approved sees a fresh request, without its old power.
func TestOneSidedRemoval(t *testing.T) {
	next, err := peering.Apply(full(core.Approved), peering.Asked, at)
	if err != nil || next.Trust != core.Pending || next.Granted != nil {
		t.Errorf("asked in approved = %+v, %v; want pending without grants", next, err)
	}
}

// TestHistoryIsBounded: a peer that comes and goes does not grow.
func TestHistoryIsBounded(t *testing.T) {
	p := full(core.Removed)
	for i := range 100 {
		var err error
		for _, e := range []peering.Event{peering.Asked, peering.RemovedBy} {
			if p, err = peering.Apply(p, e, at.Add(time.Duration(i)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(p.History) != 32 || p.History[31].To != core.Removed || !p.History[31].At.Equal(at.Add(99*time.Minute)) {
		t.Errorf("%d moves, the last %+v; want the last 32", len(p.History), p.History[len(p.History)-1])
	}
}
