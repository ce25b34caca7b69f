package peering_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

var at = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)

const none = peering.State("no transition")

// transitions is the whole table: every state, every event, in the order of
// peering.Events.
var transitions = map[peering.State][16]peering.State{
	// ask, asked, asked-too, approve, approved-by, reject, rejected-by, remove, removed-by, doubted, yes, no, restored, lost, lapse, expired
	stranger:    {requested, pending, none, none, none, none, none, none, none, none, none, none, none, none, none, none},
	requested:   {requested, none, approved, approved, approved, none, rejected, removed, removed, none, approved, none, none, none, none, none},
	pending:     {approved, pending, none, approved, none, rejected, none, removed, removed, withdrawn, none, none, none, none, none, none},
	withdrawn:   {approved, pending, none, approved, none, rejected, none, removed, removed, withdrawn, none, none, none, none, none, none},
	lapsed:      {approved, lapsed, none, approved, approved, rejected, none, removed, removed, lapsed, approved, lapsed, approved, pending, lapsed, pending},
	approved:    {approved, none, none, approved, approved, none, none, removed, removed, unconfirmed, approved, unconfirmed, none, pending, lapsed, none},
	unconfirmed: {unconfirmed, none, none, approved, approved, none, none, removed, removed, unconfirmed, approved, unconfirmed, approved, pending, lapsed, removed},
	rejected:    {requested, pending, none, none, none, none, none, removed, none, none, approved, none, none, none, none, none},
	removed:     {requested, pending, none, none, none, none, none, none, none, none, approved, none, none, none, none, none},
}

const (
	stranger, requested, pending, withdrawn, lapsed = peering.Stranger, peering.Requested, peering.Pending, peering.Withdrawn, peering.Lapsed
	approved, unconfirmed, rejected, removed        = peering.Approved, peering.Unconfirmed, peering.Rejected, peering.Removed
)

// full is a peer with something in every field that a transition could touch.
func full(state peering.State) *core.Peer {
	before := at.Add(-time.Hour)
	p := &core.Peer{
		Key: core.PublicKey{1}, Alias: "bobby", Label: "b", URL: "https://bob.example.test", Trust: state.Trust(), By: "x", Since: before,
		Names: core.Names{DisplayName: "Bob"}, RequestedAt: before, ApprovedAt: before, RejectedAt: before, RemovedAt: before,
		Granted: &core.Bundle{Scopes: []core.Grant{{Intent: "message"}}}, Received: &core.Bundle{}, Offered: []string{"message"},
		Levels: map[string]string{"general": "full"}, DefaultLevel: "full", V2: true, Warning: "w", SeenIDs: []string{"s"}, Features: []string{"f"},
	}
	switch state {
	case withdrawn:
		p.Doubt = &core.Doubt{Was: core.Pending, Since: before}
	case unconfirmed, lapsed:
		p.Doubt = &core.Doubt{Was: core.Approved, Since: before}
	}
	return p
}

// TestEveryTransition: every state and event, one by one.
func TestEveryTransition(t *testing.T) {
	if len(peering.Events) != 16 || len(peering.States) != len(transitions) {
		t.Fatalf("%d events and %d states, want 16 and %d: complete the table", len(peering.Events), len(peering.States), len(transitions))
	}
	for _, state := range peering.States {
		for i, event := range peering.Events {
			want := transitions[state][i]
			to, ok := peering.Next(state, event)
			if !ok {
				to = none
			}
			if to != want {
				t.Errorf("%s in %s goes to %q, want %q", event, state.Word(), to, want)
			}
			checkApply(t, state, event, want)
		}
	}
	if _, ok := peering.Next("nonsense", peering.Ask); ok {
		t.Error("an unknown state has a transition")
	}
	if _, ok := peering.Next(approved, "nonsense"); ok {
		t.Error("an unknown event has a transition")
	}
}

func checkApply(t *testing.T, state peering.State, event peering.Event, want peering.State) {
	t.Helper()
	p := full(state)
	next, err := peering.Apply(p, event, at)
	if !reflect.DeepEqual(p, full(state)) {
		t.Errorf("%s in %s changed the record that it was given", event, state.Word())
	}
	if want == none {
		if !errors.Is(err, core.Conflict) || next != nil {
			t.Errorf("%s in %s = %v, %v; want Conflict", event, state.Word(), next, err)
		}
		return
	}
	if err != nil {
		t.Errorf("%s in %s = %v, want no error", event, state.Word(), err)
		return
	}
	name := string(event) + " in " + state.Word()
	if got := peering.StateOf(next); got != want || next.Trust != want.Trust() {
		t.Errorf("%s: %q, stored as %q, want %q", name, got, next.Trust, want)
	}
	heard := want == state && (event == peering.Doubted || event == peering.Yes || event == peering.No)
	if !heard {
		if last := next.History[len(next.History)-1]; last != (core.Transition{At: at, Event: string(event), From: state.Trust(), To: want.Trust()}) {
			t.Errorf("%s: history ends with %+v", name, last)
		}
	} else if len(next.History) != 0 {
		t.Errorf("%s: what is heard again is written down each time", name)
	}
	if moved := want.Trust() != state.Trust(); moved != next.Since.Equal(at) {
		t.Errorf("%s: since %v", name, next.Since)
	}
	// What is never a transition.
	if next.Key != p.Key || next.URL != p.URL || next.Alias != p.Alias || !next.V2 || next.Label != p.Label || !slices.Equal(next.SeenIDs, p.SeenIDs) {
		t.Errorf("%s changed who the peer is: %+v", name, next)
	}
	// Power is kept only by a peer that was approved and stays so, or that is
	// approved at the end of a request that is under way.
	power := next.Granted != nil || next.Received != nil || next.Levels != nil || next.DefaultLevel != ""
	if wantPower := want == approved || want == unconfirmed || want == lapsed || want == withdrawn || want == pending && (state == pending || state == withdrawn); power != wantPower {
		t.Errorf("%s: has power %v, want %v", name, power, wantPower)
	}
	by := ""
	if want.Trust() == core.Rejected || want.Trust() == core.Removed {
		by = core.Us
		if event != peering.Reject && event != peering.Remove {
			by = core.Them
		}
	}
	if next.By != by {
		t.Errorf("%s: by %q, want %q", name, next.By, by)
	}
	times := map[peering.State]time.Time{requested: next.RequestedAt, approved: next.ApprovedAt, rejected: next.RejectedAt, removed: next.RemovedAt}
	again := want == pending && (state == pending || state == withdrawn || state == lapsed)
	if want == pending && !again {
		times[pending] = next.RequestedAt
	}
	if (state == unconfirmed || state == lapsed) && want == approved { // it was approved all the time
		delete(times, approved)
	}
	if stamp, ok := times[want]; ok && want != state && !stamp.Equal(at) {
		t.Errorf("%s: its time is %v, want %v", name, stamp, at)
	}
	if again && !next.RequestedAt.Equal(p.RequestedAt) {
		t.Errorf("%s: a request that is repeated lives longer", name)
	}
}

// theirs are the events that a peer can bring about alone.
var theirs = []peering.Event{peering.Asked, peering.ApprovedBy, peering.RejectedBy, peering.RemovedBy, peering.Doubted, peering.No,
	peering.Restored, peering.Lost, peering.Lapse, peering.Expired}

// TestT1Direction: nobody becomes approved by its own word. Whatever envelopes a
// stranger sends, in any order, it takes an act of ours. A yes is heard only where
// the gateway has asked, or where our operator has (Yes is no event of a stranger's).
func TestT1Direction(t *testing.T) {
	reached := map[peering.State]bool{stranger: true, rejected: true, removed: true, pending: true, withdrawn: true}
	for range 10 { // more rounds than there are states
		for state := range reached {
			for _, e := range theirs {
				if to, ok := peering.Next(state, e); ok {
					reached[to] = true
				}
			}
		}
	}
	if reached[approved] || reached[requested] || reached[unconfirmed] {
		t.Errorf("envelopes alone lead to %v", reached)
	}
}

// TestT1ComeBack: a removed or rejected peer comes back only by a new request, from
// either side, or by its own yes to our operator's.
func TestT1ComeBack(t *testing.T) {
	for _, state := range []peering.State{removed, rejected} {
		for _, e := range peering.Events {
			to, ok := peering.Next(state, e)
			asks := e == peering.Ask || e == peering.Asked
			if ok && to != removed && !asks && e != peering.Yes {
				t.Errorf("%s in %s leads to %s", e, state, to)
			}
			if asks && to != requested && to != pending {
				t.Errorf("%s in %s leads to %q, want a request", e, state, to)
			}
		}
	}
}

// TestT4NothingApprovesAfterRejection: a rejection never leads to approved.
func TestT4NothingApprovesAfterRejection(t *testing.T) {
	for _, state := range peering.States {
		for _, e := range []peering.Event{peering.Reject, peering.RejectedBy, peering.Remove, peering.RemovedBy} {
			if to, ok := peering.Next(state, e); ok && to != rejected && to != removed {
				t.Errorf("%s in %s leads to %s", e, state.Word(), to)
			}
		}
	}
}

// TestT12NoDeadEnd: from every state our operator's commands and the peer's lead back
// to approved.
func TestT12NoDeadEnd(t *testing.T) {
	leads := func(from peering.State) bool {
		seen := map[peering.State]bool{from: true}
		for range len(peering.States) {
			for state := range seen {
				for _, e := range []peering.Event{peering.Ask, peering.Asked, peering.Approve, peering.ApprovedBy, peering.Remove} {
					if to, ok := peering.Next(state, e); ok {
						seen[to] = true
					}
				}
			}
		}
		return seen[approved]
	}
	for _, state := range peering.States {
		if !leads(state) {
			t.Errorf("no way leads from %s to approved", state.Word())
		}
	}
}

// TestT12Lost: a peer that has us no more and asks again is a fresh request, without its
// old power.
func TestT12Lost(t *testing.T) {
	next, err := peering.Apply(full(approved), peering.Lost, at)
	if err != nil || next.Trust != core.Pending || next.Granted != nil {
		t.Errorf("lost in approved = %+v, %v; want pending without grants", next, err)
	}
	// Where that is not proven, it waits, and all is whole until that is known.
	was := full(approved)
	next, err = peering.Apply(was, peering.Lapse, at)
	if err != nil || next.Trust != core.Pending || !peering.StateOf(next).Waits() || !reflect.DeepEqual(next.Granted, was.Granted) {
		t.Fatalf("lapse in approved = %+v, %v; want pending with all its grants", next, err)
	}
	back, err := peering.Apply(next, peering.Yes, at)
	if err != nil || back.Trust != core.Approved || back.Doubt != nil || !reflect.DeepEqual(back.Granted, was.Granted) || !back.ApprovedAt.Equal(was.ApprovedAt) {
		t.Errorf("yes after that = %+v, %v; want as it was", back, err)
	}
	for _, e := range []peering.Event{peering.Expired, peering.Lost} {
		if end, err := peering.Apply(next, e, at); err != nil || end.Trust != core.Pending || end.Granted != nil || end.Doubt != nil {
			t.Errorf("%s after that = %+v, %v; want a request like any other", e, end, err)
		}
	}
}

// TestT10DoubtKeepsAll: what is in doubt is whole, and whole again when it is restored.
func TestT10DoubtKeepsAll(t *testing.T) {
	was := full(approved)
	next, err := peering.Apply(was, peering.Doubted, at)
	if err != nil || next.Trust != core.Removed || next.Doubt == nil || !reflect.DeepEqual(next.Granted, was.Granted) || next.DefaultLevel != "full" {
		t.Fatalf("doubted in approved = %+v, %v; want removed with a mark, and all else whole", next, err)
	}
	for _, e := range []peering.Event{peering.Yes, peering.Restored, peering.ApprovedBy, peering.Approve} {
		back, err := peering.Apply(next, e, at)
		if err != nil || back.Trust != core.Approved || back.Doubt != nil || !back.ApprovedAt.Equal(was.ApprovedAt) || !reflect.DeepEqual(back.Levels, was.Levels) {
			t.Errorf("%s in doubt = %+v, %v; want as it was", e, back, err)
		}
	}
}

// TestHistoryIsBounded: a peer that comes and goes does not grow.
func TestHistoryIsBounded(t *testing.T) {
	p := full(removed)
	for i := range 100 {
		var err error
		for _, e := range []peering.Event{peering.Asked, peering.RemovedBy} {
			if p, err = peering.Apply(p, e, at.Add(time.Duration(i)*time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(p.History) != 32 || p.History[31].To != core.Removed || !p.History[31].At.Equal(at.Add(99*time.Minute)) {
		t.Errorf("%d transitions, the last %+v; want the last 32", len(p.History), p.History[len(p.History)-1])
	}
}

// TestT10Refuted: whoever was falsely reported removed is immune for a day, then for twice
// as long each time, up to a month; long after, from the beginning.
func TestT10Refuted(t *testing.T) {
	p, now := &core.Peer{}, at
	for _, want := range []int{1, 2, 4, 8, 16, 30, 30} {
		if peering.Refuted(p, now); p.Asking.ImmuneDays != want || !p.Asking.Immune.Equal(now.Add(time.Duration(want)*24*time.Hour)) {
			t.Errorf("immune for %d days until %v, want %d", p.Asking.ImmuneDays, p.Asking.Immune, want)
		}
		now = p.Asking.Immune
	}
	if peering.Refuted(p, now.Add(61*24*time.Hour)); p.Asking.ImmuneDays != 1 {
		t.Errorf("long after: %d days, want 1", p.Asking.ImmuneDays)
	}
}
