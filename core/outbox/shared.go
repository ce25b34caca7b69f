package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/lease"
)

// leaseOf is the name of the lease to send to a peer.
func leaseOf(k core.PublicKey) string { return "outbox/" + k.Fingerprint() }

// errElsewhere says that another node is sending to the peer.
var errElsewhere = core.Refuse(core.Unavailable, "another node is sending to this peer")

// elsewhereWait is how long to wait for another node that sends to the peer.
const elsewhereWait = 100 * time.Millisecond

// enter takes the lease to send to the peer of a pass, before its first try. fresh says that
// another node may have sent what was read before.
func (q *Queue) enter(ctx context.Context, k core.PublicKey, x *pass) (fresh bool, err error) {
	if x.under != nil {
		return false, nil
	}
	x.under, x.release, err = q.o.Leases.Hold(ctx, leaseOf(k))
	if err == nil {
		return q.o.Leases.Shared(), nil
	}
	if errors.Is(err, core.Conflict) {
		err = errElsewhere
	}
	x.elsewhere(err)
	return false, err
}

// elsewhere notes that this node may not send to the peer of a pass.
func (x *pass) elsewhere(err error) {
	x.later(lease.AskEvery)
	x.behind = err
}

// why is the error that a walk ends with whose last try had one.
func (x *pass) why(err error) error {
	if errors.Is(x.behind, errElsewhere) {
		return errElsewhere
	}
	return err
}

// leave gives the lease of a pass back.
func (x *pass) leave() {
	if x.under != nil {
		x.release()
		x.under = nil
	}
}

// Once tries an envelope that has just been kept once, whatever waits before it.
func (q *Queue) Once(ctx context.Context, item *core.OutboxItem) (*core.OutboxItem, error) {
	under, release, err := q.o.Leases.Wait(ctx, leaseOf(item.Peer), maxQueue)
	if err != nil {
		return item, errBehind
	}
	defer release()
	return q.Attempt(under, item, true)
}

// lookAgain is how often to look at a queue whose peer another node may be writing to: the
// more of them wait, the later.
func (q *Queue) lookAgain() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return max(5*lease.AskEvery, time.Duration(len(q.alive))*20*time.Millisecond)
}
