// Package peering holds the two tables that a peer's standing moves by: trust,
// which a human, a policy or a verified envelope moves, and reach, which checks
// move. Each is data: a state and an event give the next state, or no move.
//
// docs/protocol.md#trust
package peering

import (
	"fmt"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Event is what happened between us and a peer.
type Event string

// The events. Ours are the operator's or a policy's word, theirs an envelope whose
// signature holds.
const (
	Ask        Event = "ask"         // we ask them
	Asked      Event = "asked"       // they ask us, signed and with a time
	AskedPlain Event = "asked-plain" // they ask us in the old form, which carries no time
	Approve    Event = "approve"     // we approve them, or change what we grant
	ApprovedBy Event = "approved-by" // they approve us, or change what they grant
	Reject     Event = "reject"      // we say no
	RejectedBy Event = "rejected-by" // they say no
	Remove     Event = "remove"      // we part
	RemovedBy  Event = "removed-by"  // they part

)

// States and Events list all there are, for tests and documents.
var (
	States = []core.Trust{core.Stranger, core.Requested, core.Pending, core.Approved, core.Rejected, core.Removed}
	Events = []Event{Ask, Asked, AskedPlain, Approve, ApprovedBy, Reject, RejectedBy, Remove, RemovedBy}
)

// trust is the table. What is not in it is no move.
//
// Two lines are worth a word. Asked in state requested approves: both sides have
// asked each other, so both have consented. Asked in state approved goes back to
// pending: they have lost or removed us and want to come back, and a human says
// yes again; the old form cannot do that, as anyone can send it again later.
var trust = map[core.Trust]map[Event]core.Trust{
	core.Stranger: {
		Ask:        core.Requested,
		Asked:      core.Pending,
		AskedPlain: core.Pending,
	},
	core.Requested: {
		Ask:        core.Requested,
		Asked:      core.Approved,
		AskedPlain: core.Approved,
		ApprovedBy: core.Approved,
		RejectedBy: core.Rejected,
		Remove:     core.Removed,
		RemovedBy:  core.Removed,
	},
	core.Pending: {
		Ask:        core.Approved,
		Asked:      core.Pending,
		AskedPlain: core.Pending,
		Approve:    core.Approved,
		Reject:     core.Rejected,
		Remove:     core.Removed,
		RemovedBy:  core.Removed,
	},
	core.Approved: {
		Ask:        core.Requested,
		Asked:      core.Pending,
		AskedPlain: core.Approved,
		Approve:    core.Approved,
		ApprovedBy: core.Approved,
		Remove:     core.Removed,
		RemovedBy:  core.Removed,
	},
	core.Rejected: {
		Ask:        core.Requested,
		Asked:      core.Pending,
		AskedPlain: core.Pending,
		Remove:     core.Removed,
	},
	core.Removed: {
		Ask:        core.Requested,
		Asked:      core.Pending,
		AskedPlain: core.Pending,
	},
}

// Next gives the state after an event. ok is false where the event is no move in
// that state.
func Next(from core.Trust, e Event) (to core.Trust, ok bool) {
	to, ok = trust[from][e]
	return to, ok
}

// Apply makes the move on a copy of p and returns the copy, with the times,
// tombstone and history that go with it. It returns an error of kind Conflict
// where the event is no move.
func Apply(p *core.Peer, e Event, at time.Time) (*core.Peer, error) {
	to, ok := Next(p.Trust, e)
	if !ok {
		return nil, &core.Error{Kind: core.Conflict, Public: fmt.Sprintf("cannot %s a peer that is %s", e, StateName(p.Trust))}
	}
	next := p.Clone()
	next.Remember(core.Transition{At: at, Event: string(e), From: p.Trust, To: to})
	next.By = ""
	switch to {
	case core.Requested:
		next.RequestedAt = at
		forgetGrants(next)
	case core.Pending:
		if p.Trust != core.Pending {
			next.RequestedAt = at
			forgetGrants(next)
		}
	case core.Approved:
		if p.Trust != core.Approved {
			next.ApprovedAt = at
		}
	case core.Rejected:
		next.RejectedAt, next.By = at, by(e)
		forgetGrants(next)
	case core.Removed:
		next.RemovedAt, next.By = at, by(e)
		forgetGrants(next)
	}
	return next, nil
}

// forgetGrants leaves a record without any power, so that what comes back starts
// from nothing.
func forgetGrants(p *core.Peer) {
	p.Granted, p.Received = nil, nil
	p.Levels, p.DefaultLevel = nil, ""
}

func by(e Event) string {
	switch e {
	case Reject, Remove:
		return core.Us
	}
	return core.Them
}

// StateName is the state's word for people.
func StateName(t core.Trust) string {
	if t == core.Stranger {
		return "unknown"
	}
	return string(t)
}
