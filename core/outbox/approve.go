package outbox

import (
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
)

// notPendingWaits are the waits before an approval goes out again whose peer has said
// that it knows no request of ours: 6, 15, 60 and 300 s after it said so first. The
// command line there may not have written its request down yet.
var notPendingWaits = []time.Duration{6 * time.Second, 9 * time.Second, 45 * time.Second, 4 * time.Minute}

// ApproveWithin is how long after the peer's request, or our operator's command, an
// approval goes out to a peer that has not shown v2 and has answered before. Later it
// might approve us there once more where its operator has removed us.
const ApproveWithin = 10 * time.Minute

// Ordered is when an approval was asked for last: by the peer's request, or by our
// operator.
func Ordered(p *core.Peer, item *core.OutboxItem) time.Time {
	at := item.Created
	for _, t := range []time.Time{p.RequestedAt, item.Ordered} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// Outrun reports whether a removal notice came after an approval was asked for, also
// one that changed nothing here: the approval must not undo it there.
//
// docs/threat-model.md#t12
func Outrun(p *core.Peer, ordered time.Time) bool { return p.Asking.Removal.After(ordered) }

// isNotPending reports whether a peer says that it knows no request of ours.
func isNotPending(j answer.Judged) bool {
	return j.Verdict == answer.Wait && strings.HasPrefix(j.Said, answer.NoPending)
}

// approvalWait is when to try an approval again that was not taken, or that it is over.
// wait is the general one. It counts what the peer has said.
func approvalWait(p *core.Peer, item *core.OutboxItem, j answer.Judged, wait time.Duration, now time.Time) (_ time.Duration, over bool) {
	item.Spoke = item.Spoke || j.Said != ""
	if isNotPending(j) {
		if item.NotPending >= len(notPendingWaits) {
			return 0, true
		}
		wait = notPendingWaits[item.NotPending]
		item.NotPending++
	}
	if !item.Spoke || p.V2 {
		return wait, false
	}
	left := Ordered(p, item).Add(ApproveWithin).Sub(now)
	return min(wait, left), left < time.Second
}

// Ends is when an envelope that waits is tried for the last time, if nothing is heard of it
// but what was heard last.
func Ends(p *core.Peer, item *core.OutboxItem) time.Time {
	end := item.GiveUp
	sooner := func(t time.Time) {
		if t.Before(end) {
			end = t
		}
	}
	if item.Kind == core.OutApprove && item.NotPending > 0 {
		last := item.Next
		for _, w := range notPendingWaits[min(item.NotPending, len(notPendingWaits)):] {
			last = last.Add(w)
		}
		sooner(last)
	}
	if item.Kind == core.OutApprove && item.Spoke && !p.V2 {
		sooner(Ordered(p, item).Add(ApproveWithin))
	}
	return end
}

// notPendingYet says what to do about an approval that is tried again, as the peer knows no
// request of its own.
func notPendingYet(p *core.Peer, err error) error {
	return core.Refusef(core.Refused, "%s", err).
		WithHint(`it may not have written its request down yet; if it has none: "ogp federation request ` + p.URL + ` --again" asks it instead`)
}

// approvalOver is why an approval is not tried any more, with the command that leads on.
func approvalOver(p *core.Peer, j answer.Judged, why error) error {
	if isNotPending(j) {
		return core.Refusef(core.Refused, "%s: its own request is gone there", why).
			WithHint(`"ogp federation request ` + p.URL + ` --again" asks it instead`)
	}
	return core.Refusef(core.Refused, "%s; tried for %s", why, ApproveWithin).
		WithHint(`"ogp federation approve ` + p.Name() + `" sends it again`)
}
