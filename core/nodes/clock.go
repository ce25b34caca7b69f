package nodes

import (
	"fmt"
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// mostApart is how far a node's clock may be from what most clocks say, so that no two nodes
// that work are further apart than core.ClockMargin.
const mostApart = core.ClockMargin / 2

// retryElsewhere is when one whose envelope we do not take asks again, perhaps another node.
const retryElsewhere = 2 * time.Second

// skew is how far our clock is ahead of the store's, at the least, where it was now there
// between two of our moments.
func skew(before, now, after time.Time) time.Duration {
	switch {
	case before.After(now):
		return before.Sub(now)
	case after.Before(now):
		return after.Sub(now)
	}
	return 0
}

// clocks is how far most clocks of living nodes are ahead of the store's, which counts as one
// of them. Where as many say something else, it is what is nearer to the store's. One node
// alone counts nothing together with another, and is not judged.
func clocks(all []View) (usual time.Duration, several bool) {
	ahead := []time.Duration{0}
	for _, v := range all {
		if v.Alive && v.ClockMs != nil {
			ahead = append(ahead, v.clock())
		}
	}
	slices.Sort(ahead)
	low, high := ahead[(len(ahead)-1)/2], ahead[len(ahead)/2]
	if low.Abs() <= high.Abs() {
		return low, len(ahead) > 2
	}
	return high, len(ahead) > 2
}

func (v View) clock() time.Duration { return time.Duration(*v.ClockMs) * time.Millisecond }

// ahead says in words how far a clock is ahead of another.
func ahead(by time.Duration, of string) string {
	if by < 0 {
		return fmt.Sprintf("%v behind %s", -by.Round(time.Second), of)
	}
	return fmt.Sprintf("%v ahead of %s", by.Round(time.Second), of)
}

// ClockNote says that our clock and the store's are far apart, where that keeps this node from
// nothing; empty: they are not.
func (n *Nodes) ClockNote() string {
	if n == nil || n.table == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.untimely || n.skew.Abs() <= mostApart {
		return ""
	}
	return "the clock of this node is " + ahead(n.skew, "that of the database") + ": set the one that is wrong"
}

// noteClock says once in the log what ClockNote says.
func (n *Nodes) noteClock() {
	note := n.ClockNote()
	n.mu.Lock()
	was := n.noted
	n.noted = note != ""
	n.mu.Unlock()
	if note != "" && !was {
		n.o.Log.Error(note)
	}
}

// Skew is how far our clock is ahead of the store's, at the least; ok is false where there is
// no other clock, or it was not seen yet.
func (n *Nodes) Skew() (by time.Duration, ok bool) {
	if n == nil || n.table == nil {
		return 0, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.skew, n.timed
}

// Untimely refuses what is judged by the time, while our clock is not as those of most: other
// nodes would count it as of another time.
func (n *Nodes) Untimely() error {
	if n == nil || n.table == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.untimely {
		return nil
	}
	e := core.Refuse(core.Unavailable, "This node of the gateway takes nothing at the moment: its clock is wrong")
	e.RetryAfter = retryElsewhere
	return e
}
