package core

import (
	"fmt"
	"time"
)

// Kind is what went wrong, as far as another part of the program acts on it:
// errors.Is(err, core.Stale). Text is for people, the kind is for code.
type Kind string

// The kinds. The wire rooms map each to a status in one table.
const (
	Malformed    Kind = "malformed"     // the envelope or request is not of the shape it must have
	BadSignature Kind = "bad-signature" // the signature does not hold under any key it may be from
	Stale        Kind = "stale"         // the time lies outside the window
	Replayed     Kind = "replayed"      // this peer has used this nonce; the same bytes get the same answer
	Conflict     Kind = "conflict"      // it contradicts what is known: other bytes under a used nonce, say
	Moved        Kind = "moved"         // a peer has changed since it was looked at: look again
	UnknownPeer  Kind = "unknown-peer"  // nobody we know
	NotApproved  Kind = "not-approved"  // known, but not approved
	Forbidden    Kind = "forbidden"     // understood and refused
	NotFound     Kind = "not-found"     // no such thing
	Ambiguous    Kind = "ambiguous"     // a name that fits several
	TooLarge     Kind = "too-large"     // beyond a size limit
	Unsupported  Kind = "unsupported"   // a form that we do not read
	RateLimited  Kind = "rate-limited"  // too many; RetryAfter says when again
	Unavailable  Kind = "unavailable"   // not now; RetryAfter says when again
	Full         Kind = "full"          // no space to keep it
	Refused      Kind = "refused"       // the other gateway said no
	Unreachable  Kind = "unreachable"   // the other gateway gave no answer
	Internal     Kind = "internal"      // our fault
)

// Error lets a Kind stand as the target of errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is an error that another part acts on. Public is what may leave the
// process; Err, if any, stays in the log.
type Error struct {
	Kind       Kind
	As         Kind          // whose status the answer has, where it is not Kind's own
	Public     string        // said to the other side; empty: the kind's own word
	Hint       string        // for our operator: what to do next
	RetryAfter time.Duration // 0: none
	Candidates []string      // for Ambiguous: what it could mean
	Detail     Raw           // for the answer's `response` member: a JSON object, or nil
	Err        error         // the cause, for the log
}

func (e *Error) Error() string {
	text := e.Public
	if text == "" {
		text = string(e.Kind)
	}
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", text, e.Err)
	}
	return text
}

// Answer is the kind that the answer's status goes by.
func (e *Error) Answer() Kind {
	if e.As != "" {
		return e.As
	}
	return e.Kind
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, core.Stale) hold for an Error of that kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// Refuse is an Error whose text may leave the process.
func Refuse(k Kind, public string) *Error { return &Error{Kind: k, Public: public} }

// Refusef is Refuse with a format.
func Refusef(k Kind, format string, args ...any) *Error {
	return Refuse(k, fmt.Sprintf(format, args...))
}

// WithHint puts onto e what our operator can do next, and returns it.
func (e *Error) WithHint(hint string) *Error {
	e.Hint = hint
	return e
}

// RoundUp is a time to wait as it is said to others: whole seconds, at least one
// where it is any.
func RoundUp(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return (d + time.Second - 1).Truncate(time.Second)
}
