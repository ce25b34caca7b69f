package peering

import "github.com/opengatewayprotocol/ogp/core"

// Forget is the operator's word that deletes a record. It is no transition, and so not
// among Events.
const Forget Event = "forget"

// Refusal says why an operator's command is nothing for a peer as it stands, with the
// command that leads on. It is nil where the command may go ahead, and of kind Conflict
// else. p must be known.
//
// docs/threat-model.md#t12
func Refusal(p *core.Peer, e Event) error {
	state := StateOf(p)
	_, ok := Next(state, e)
	what, hint := "", ""
	switch {
	case e == Approve && state == Requested && !p.AskedToo:
		what, hint = "there is nothing to approve", `we asked; it is the peer's turn to approve. "ogp federation request `+p.URL+`" asks it whether it has`
	case e == Forget && (state == Removed || state == Rejected || state.InDoubt()):
		return nil
	case e == Forget:
		what, hint = "only the record of a removed or rejected peer can be forgotten", `"ogp federation remove `+p.Name()+`" comes first`
	case ok:
		return nil
	case e == Approve:
		what, hint = "there is nothing to approve", `"ogp federation request `+p.URL+`" asks it to federate`
	case e == Reject:
		what, hint = "there is no request to reject", rejectHint(p, state)
	default:
		what, hint = "there is nothing to remove", `"ogp federation forget `+p.Name()+`" deletes its record`
	}
	return core.Refusef(core.Conflict, "%s is %s; %s", p.Name(), state.Word(), what).
		WithHint(hint)
}

// NotApproved says that a peer is not approved, as what is asked of it needs, with the
// command that leads on. It is nil where the peer is. p must be known. Of kind NotApproved.
//
// docs/threat-model.md#t12
func NotApproved(p *core.Peer) error {
	state := StateOf(p)
	if state == Approved {
		return nil
	}
	e := core.Refusef(core.NotApproved, "%s is %s, not approved", p.Name(), state.Word())
	e.Hint = `"ogp federation request ` + p.URL + `" asks it, and federates again if it says yes`
	if state.Waits() {
		e.Hint = `"ogp federation approve ` + p.Name() + `" approves it`
	}
	return e
}

func rejectHint(p *core.Peer, state State) string {
	switch state {
	case Requested:
		return `"ogp federation remove ` + p.Name() + `" takes our own request back`
	case Removed, Rejected:
		return `"ogp federation forget ` + p.Name() + `" deletes its record`
	}
	return `"ogp federation remove ` + p.Name() + `" ends the federation`
}
