package plugin

import (
	"fmt"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
)

// The kinds of errors, for errors.Is(err, plugin.Timeout). A kind is the word after the hook in an error's text.
// After a Failed or Busy call the plugin's instance lives on; after a Trap, Timeout, Limit
// or BadAnswer it has been dropped, and the next call gets another.
const (
	// BadModule is a module that does not load: its bytes, imports, exports, start or self-tests.
	BadModule = guest.BadModule
	// BadManifest is a manifest that cannot be read.
	BadManifest core.Kind = "manifest"
	// Denied is what the operator did not grant: another module than the pinned one, a hook that is not there.
	Denied core.Kind = "denied"
	// Failed is an orderly failure: the plugin said so itself, and why.
	Failed = guest.Failed
	// Trap is a guest that crashed or exited.
	Trap = guest.Trap
	// Limit is a guest that used up its fuel, memory or output.
	Limit = guest.Limit
	// Timeout is a guest that was not done at its deadline.
	Timeout core.Kind = "timeout"
	// Canceled is a call whose caller went away.
	Canceled core.Kind = "canceled"
	// BadAnswer is an output that is no JSON object, or no answer to what was asked.
	BadAnswer = guest.BadAnswer
	// Busy is a call that found every instance taken until its deadline.
	Busy core.Kind = "busy"
	// Paused is a plugin that failed too often in a row. RetryAfter says when it is tried again.
	Paused core.Kind = "paused"
	// Closed is a plugin or host that was closed.
	Closed core.Kind = "closed"
)

// Error is what every method of this package returns. Its text is for people; errors.Is with a kind is for
// programs.
type Error struct {
	Plugin string
	Hook   Hook // empty outside of a call
	Kind   core.Kind
	Text   string // the fact
	// Stderr is the end of what the guest wrote to standard error during the call, at most 4 KiB.
	Stderr string
	// Trace is the guest's stack at a trap, one function a line, where its module has names.
	Trace string
	// RetryAfter is how long a Paused plugin stays so.
	RetryAfter time.Duration
	Err        error // the cause, if it is an error of its own
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("plugin")
	for _, s := range []string{e.Plugin, string(e.Hook), string(e.Kind), e.Text} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if s := strings.TrimSpace(e.Stderr); s != "" {
		b.WriteString(": stderr: " + s)
	}
	return b.String()
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// stop ends the guest's call, within a function of the host.
func stop(kind core.Kind, format string, a ...any) { guest.Stop(kind, format, a...) }

// exit is what proc_exit panics with.
type exit struct{ code uint32 }

func (e *exit) Error() string { return fmt.Sprintf("exit status %d", e.code) }
