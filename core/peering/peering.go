// Package peering holds the two tables that a peer's standing changes by: trust,
// which a human, a policy or a verified envelope changes, and reach, which checks
// change. Each is data: a state and an event give the next state, or no transition.
//
// docs/protocol.md#trust
package peering

import (
	"fmt"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// State is where a peer stands: its Trust, and beside that the states of doubt, which
// are stored as removed or pending plus a mark, so that every reader of the record who
// knows no doubt treats the peer as removed, or as one that asks.
type State string

// The states.
const (
	Stranger    State = ""
	Requested   State = "requested"   // we asked, they have not answered
	Pending     State = "pending"     // they asked, we have not answered
	Withdrawn   State = "withdrawn"   // they asked, and perhaps no longer do
	Lapsed      State = "lapsed"      // they ask though approved, and say, unproven, that they have us no more
	Approved    State = "approved"    //
	Unconfirmed State = "unconfirmed" // removed by a notice that we have not been able to confirm
	Rejected    State = "rejected"    // one side said no
	Removed     State = "removed"     // one side parted
)

// StateOf reads a record; nil is a stranger's.
func StateOf(p *core.Peer) State {
	if p == nil {
		return Stranger
	}
	switch {
	case p.Doubt == nil:
	case p.Trust == core.Pending:
		return Lapsed
	case p.Trust == core.Removed:
		if p.Doubt.Was == core.Pending {
			return Withdrawn
		}
		return Unconfirmed
	}
	return State(p.Trust)
}

// Trust is the state as a record keeps it.
func (s State) Trust() core.Trust {
	switch s {
	case Withdrawn, Unconfirmed:
		return core.Removed
	case Lapsed:
		return core.Pending
	}
	return core.Trust(s)
}

// Word is the state for people.
func (s State) Word() string {
	switch s {
	case Stranger:
		return "unknown"
	case Withdrawn:
		return "pending (perhaps withdrawn)"
	case Lapsed:
		return "pending (was approved)"
	case Unconfirmed:
		return "removed (unconfirmed)"
	}
	return string(s)
}

// Waits reports whether the peer's request waits for our operator.
func (s State) Waits() bool { return s == Pending || s == Withdrawn || s == Lapsed }

// IsNothing reports whether nothing is left between a peer and us, or never was: a request
// of it is a stranger's, and there is nothing for it to remove.
func (s State) IsNothing() bool { return s == Stranger || s == Rejected || s == Removed }

// InDoubt reports whether a federation seems to have ended by the peer's word, which is
// not proven: all that was granted is whole, the peer is asked, and a yes restores it.
func (s State) InDoubt() bool { return s == Unconfirmed || s == Lapsed }

// Event is what happened between us and a peer.
type Event string

// The events. Ours are the operator's or a policy's word. Theirs rest on an
// envelope that is signed, timed and names us. What is less is a hint; it changes
// nothing by itself, but for Doubted, and the peer is asked: Yes and No are what it
// said then. docs/threat-model.md#t10
const (
	Ask        Event = "ask"         // we ask them
	Asked      Event = "asked"       // they ask us
	AskedToo   Event = "asked-too"   // they ask us by name while we ask them: both have consented
	Approve    Event = "approve"     // we approve them, or change what we grant
	ApprovedBy Event = "approved-by" // they approve us, or change what they grant
	Reject     Event = "reject"      // we say no
	RejectedBy Event = "rejected-by" // they say no
	Remove     Event = "remove"      // we part
	RemovedBy  Event = "removed-by"  // they part
	Doubted    Event = "doubted"     // a removal notice that does not name us
	Yes        Event = "yes"         // they say that they have us approved
	No         Event = "no"          // they say that they do not
	Restored   Event = "restored"    // they have written to us since the notice
	Lost       Event = "lost"        // they asked us though approved, and say, signed, that they have us no more
	Lapse      Event = "lapse"       // the same, by an answer that anybody could give
	Expired    Event = "expired"     // nothing was heard for as long as we ask
)

// States and Events list all there are, for tests and documents.
var (
	States = []State{Stranger, Requested, Pending, Withdrawn, Lapsed, Approved, Unconfirmed, Rejected, Removed}
	Events = []Event{Ask, Asked, AskedToo, Approve, ApprovedBy, Reject, RejectedBy, Remove, RemovedBy, Doubted, Yes, No, Restored, Lost, Lapse, Expired}
)

// trust is the table. What is not in it is no transition.
//
// Some lines are worth a word. Ask in approved and unconfirmed changes nothing: if
// nothing comes of it, all is as before. Approve in requested answers a peer that
// asked us, too, in a form that names nobody. Yes in requested, rejected and removed
// is heard only after our operator has asked, which is our own yes.
var trust = map[State]map[Event]State{
	Stranger: {
		Ask:   Requested,
		Asked: Pending,
	},
	Requested: {
		Ask:        Requested,
		AskedToo:   Approved,
		Approve:    Approved,
		ApprovedBy: Approved,
		RejectedBy: Rejected,
		Remove:     Removed,
		RemovedBy:  Removed,
		Yes:        Approved,
	},
	Pending: {
		Ask:       Approved,
		Asked:     Pending,
		Approve:   Approved,
		Reject:    Rejected,
		Remove:    Removed,
		RemovedBy: Removed,
		Doubted:   Withdrawn,
	},
	Withdrawn: {
		Ask:       Approved,
		Asked:     Pending,
		Approve:   Approved,
		Reject:    Rejected,
		Remove:    Removed,
		RemovedBy: Removed,
		Doubted:   Withdrawn,
	},
	Approved: {
		Ask:        Approved,
		Approve:    Approved,
		ApprovedBy: Approved,
		Remove:     Removed,
		RemovedBy:  Removed,
		Doubted:    Unconfirmed,
		Yes:        Approved,
		No:         Unconfirmed,
		Lost:       Pending,
		Lapse:      Lapsed,
	},
	Lapsed: {
		Ask:        Approved,
		Asked:      Lapsed,
		Approve:    Approved,
		ApprovedBy: Approved,
		Reject:     Rejected,
		Remove:     Removed,
		RemovedBy:  Removed,
		Doubted:    Lapsed,
		Yes:        Approved,
		No:         Lapsed,
		Restored:   Approved,
		Lost:       Pending,
		Lapse:      Lapsed,
		Expired:    Pending,
	},
	Unconfirmed: {
		Ask:        Unconfirmed,
		Approve:    Approved,
		ApprovedBy: Approved,
		Remove:     Removed,
		RemovedBy:  Removed,
		Doubted:    Unconfirmed,
		Yes:        Approved,
		No:         Unconfirmed,
		Restored:   Approved,
		Lost:       Pending,
		Lapse:      Lapsed,
		Expired:    Removed,
	},
	Rejected: {
		Ask:    Requested,
		Asked:  Pending,
		Remove: Removed,
		Yes:    Approved,
	},
	Removed: {
		Ask:   Requested,
		Asked: Pending,
		Yes:   Approved,
	},
}

// Next gives the state after an event. ok is false where the event is no transition
// in that state.
func Next(from State, e Event) (to State, ok bool) {
	to, ok = trust[from][e]
	return to, ok
}

// Apply makes the transition on a copy of p and returns the copy, with the times,
// tombstone and history that go with it. It returns an error of kind Conflict where
// the event is no transition.
func Apply(p *core.Peer, e Event, at time.Time) (*core.Peer, error) {
	from := StateOf(p)
	to, ok := Next(from, e)
	if !ok {
		return nil, &core.Error{Kind: core.Conflict, Public: fmt.Sprintf("cannot %s a peer that is %s", e, from.Word())}
	}
	next := p.Clone()
	if from != to || e != Doubted && e != Yes && e != No { // what is heard again and again is no history
		next.Remember(core.Transition{At: at, Event: string(e), From: p.Trust, To: to.Trust()})
	}
	next.By = ""
	if ours(e) {
		next.Refused = e == Reject || e == Remove
	}
	switch to {
	case Requested:
		next.RequestedAt = at
		forgetGrants(next)
	case Pending:
		if !from.Waits() {
			next.RequestedAt = at
		}
		if from != Pending && from != Withdrawn {
			forgetGrants(next)
		}
	case Approved:
		if from != Approved && !from.InDoubt() {
			next.ApprovedAt = at
		}
		if e == Ask {
			next.RequestedAt = at
		}
	case Unconfirmed, Withdrawn:
		doubt(next, from, at)
	case Lapsed:
		if from != Lapsed {
			removed := next.RemovedAt
			doubt(next, from, at)
			next.RequestedAt, next.RemovedAt, next.By = at, removed, ""
		}
	case Rejected:
		next.RejectedAt, next.By = at, by(e)
		forgetGrants(next)
	case Removed:
		next.RemovedAt, next.By = at, by(e)
		forgetGrants(next)
	}
	if to != Unconfirmed && to != Withdrawn && to != Lapsed {
		next.Doubt = nil
	}
	if ours(e) || from == Stranger {
		next.Asking = core.Asking{Immune: next.Asking.Immune, ImmuneDays: next.Asking.ImmuneDays, Started: next.Asking.Started, Notified: next.Asking.Notified}
		next.AskedToo = false
	}
	return next, nil
}

// doubt marks a record that a notice removed which nobody has confirmed.
func doubt(p *core.Peer, from State, at time.Time) {
	p.By = core.Them
	if p.Doubt == nil {
		was := core.Approved
		if from.Waits() {
			was = core.Pending
		}
		p.Doubt = &core.Doubt{Was: was, Since: at}
		p.RemovedAt = at
	}
}

// forgetGrants leaves a record without any power, so that what comes back starts
// from nothing.
func forgetGrants(p *core.Peer) {
	p.Granted, p.Received = nil, nil
	p.Levels, p.DefaultLevel = nil, ""
}

// ours reports whether our operator or a policy made the event.
func ours(e Event) bool {
	switch e {
	case Ask, Approve, Reject, Remove:
		return true
	}
	return false
}

func by(e Event) string {
	if ours(e) {
		return core.Us
	}
	return core.Them
}
