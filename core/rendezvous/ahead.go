package rendezvous

import (
	"slices"
	"time"
)

// ahead lets a key whose clock was ahead of ours come back when it has been put
// right. Its newest time then lies in the future, and without this nothing of its
// own would count until that is past. The times that it signed while it was ahead
// are kept, so that nobody replays what it said then.
//
// docs/threat-model.md#v2
type ahead struct {
	sure int64   // ms: the newest time that was not ahead when it came
	seen []int64 // ms: those that were, until they are as old as the window
}

// maxAhead bounds the times that are kept of one key: more than its renewals
// within a window. Beyond it the key waits.
const maxAhead = 64

// after reports whether a signed time counts as newer than what is known of a
// key: newest, or, where newest is ahead of now, what came before it.
func (a *ahead) after(at, newest, now int64) bool {
	switch {
	case a == nil:
		return at > newest
	case slices.Contains(a.seen, at):
		return false
	}
	return at > newest || newest > now && at > a.sure && at <= now+lead
}

// lead is how far a time may be ahead and cost nothing: no more than an interval
// between two renewals is lost by it.
const lead = int64(30 * time.Second / time.Millisecond)

// took notes that a time was taken, and returns what is to be remembered; nil:
// nothing. newest is what it replaces.
func (a *ahead) took(at, newest, now int64, window time.Duration) *ahead {
	if at <= now+lead {
		if a == nil {
			return nil
		}
		a.sure = at
		a.seen = slices.DeleteFunc(a.seen, func(t int64) bool { return t < now-window.Milliseconds() })
		if len(a.seen) == 0 {
			return nil
		}
		return a
	}
	if a == nil {
		a = &ahead{sure: min(newest, now+lead)}
	}
	a.seen = append(a.seen, at)
	return a
}

// until is when the last of what was signed ahead is too old to be sent again.
func (a *ahead) until(window time.Duration) int64 {
	if a == nil {
		return 0
	}
	return slices.Max(a.seen) + window.Milliseconds() + 1
}

// full reports whether no further time that is ahead is taken.
func (a *ahead) full(at, now int64) bool { return a != nil && at > now+lead && len(a.seen) >= maxAhead }
