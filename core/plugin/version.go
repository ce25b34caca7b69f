package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core/plugin/compile"
)

// version is one loaded module with its runtime and its instances. A reload makes another one.
type version struct {
	name     string
	manifest *Manifest
	limits   Limits
	kind     *kind
	sha256   string
	size     int
	imports  []string
	config   []byte
	defaults []byte // the configuration of the manifest alone
	loaded   time.Time
	took     time.Duration

	grants    Grants
	urls      []*grant
	secrets   func(string) (string, bool)
	store     KV
	log       *guestLog
	answer    func(hook Hook, output []byte) (any, error) // reads answers; nil: any object will do
	reads     *part                                       // of the input; nil: all
	clients   *clients
	roundTrip http.RoundTripper // answers requests instead of the clients; nil: they do
	refused   atomic.Int64

	code compile.Code

	turns *turns // of the host
	idle  chan *instance
	slots chan struct{} // one token for each instance that may still be made
	calls sync.WaitGroup
}

// take gets an instance: an idle one, a new one, or the next that comes free.
func (v *version) take(ctx context.Context, deadline time.Time) (*instance, error) {
	select {
	case in := <-v.idle:
		return in, nil
	default:
	}
	select {
	case <-v.slots:
		return v.make(ctx, deadline)
	default:
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case in := <-v.idle:
		return in, nil
	case <-v.slots:
		return v.make(ctx, deadline)
	case <-t.C:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil, &Error{Plugin: v.name, Kind: Canceled, Text: "its caller is gone"}
		}
	}
	return nil, &Error{Plugin: v.name, Kind: Busy, Text: "every instance was taken"}
}

// make starts an instance for the slot that was taken, for a call with the deadline given. A plugin whose start
// takes longer than a call may would otherwise never work again after its first failure.
func (v *version) make(ctx context.Context, deadline time.Time) (*instance, error) {
	if grace := time.Now().Add(startGrace); deadline.Before(grace) {
		deadline = grace
	}
	in, err := v.started(ctx, deadline)
	if err != nil {
		v.slots <- struct{}{}
		return nil, err
	}
	return in, nil
}

// started starts an instance in a turn of its own.
func (v *version) started(ctx context.Context, deadline time.Time) (*instance, error) {
	if err := v.turns.enter(ctx, deadline); err != nil {
		return nil, v.named(err, "")
	}
	in, err := v.start(ctx, deadline)
	if err == nil && v.kind.live != nil {
		err = v.kind.live(in)
	}
	v.turns.leave()
	if err != nil && in != nil { // it did not come to its first line
		err = in.failure(err)
		in.close()
	}
	return in, err
}

// give hands an instance back, or drops it.
func (v *version) give(in *instance, keep bool) {
	if keep && !v.kind.once {
		v.idle <- in
		return
	}
	in.close()
	v.slots <- struct{}{}
}

func (v *version) call(ctx context.Context, hook Hook, input []byte, began time.Time) (Result, error) {
	deadline := began.Add(time.Duration(v.limits.Timeout))
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	in, err := v.take(ctx, deadline)
	if err != nil {
		return Result{}, v.named(err, hook)
	}
	if err := v.turns.enter(ctx, deadline); err != nil {
		v.give(in, true)
		return Result{}, v.named(err, hook)
	}
	r, keep, err := in.call(ctx, hook, input, deadline)
	v.turns.leave()
	v.give(in, keep)
	return r, err
}

// named puts the plugin's name into an error that was made without it.
func (v *version) named(err error, hook Hook) error {
	var e *Error
	if errors.As(err, &e) {
		e.Plugin, e.Hook = v.name, hook
	}
	return err
}

// close frees everything. No call may be running.
func (v *version) close() {
	v.drain()
	v.code.Close()
}

// notObject says what keeps b from being a JSON object, or "".
func notObject(b []byte) string {
	v := jsontext.Value(b)
	switch {
	case len(b) == 0:
		return "gave no output"
	case !v.IsValid():
		return "gave an output that is not valid JSON" + Offending(b)
	case v.Kind() != '{':
		return "gave an output that is not a JSON object: " + inQuotes(b)
	}
	return ""
}

// Offending says where b stops being JSON, in words that follow "not valid JSON".
func Offending(b []byte) string {
	d := jsontext.NewDecoder(bytes.NewReader(b))
	_, err := d.ReadValue()
	var s *jsontext.SyntacticError
	switch {
	case errors.As(err, &s):
		at := min(max(int(s.ByteOffset), 0), len(b))
		where, before, after := lineOf(b, at), inQuotes(b[max(0, at-40):at]), inQuotes(b[at:min(at+40, len(b))])
		if errors.Is(s.Err, jsontext.ErrDuplicateName) {
			return fmt.Sprintf(", %s: a name that was there before: %s here %s", where, before, after)
		}
		if at == len(b) {
			return fmt.Sprintf(", %s: it ends too early, behind %s", where, before)
		}
		return fmt.Sprintf(", %s: %s here %s", where, before, after)
	case err == nil:
		at := int(d.InputOffset())
		return fmt.Sprintf(", %s: more follows the object: %s", lineOf(b, at), inQuotes(b[at:]))
	}
	return ": " + inQuotes(b)
}

// lineOf says where a place in a text is, as editors count: in characters, from 1.
func lineOf(b []byte, at int) string {
	before := b[:at]
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(before, []byte("\n")), column)
}
