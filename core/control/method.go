package control

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// Method is a method of the local API: its name, with the types of what goes in
// and of what comes back. core/control/api lists them; the daemon's end and the
// command line's are both made from that one line.
type Method[P, R any] string

// Stream is a method that answers with values as they come.
type Stream[P, V any] string

// Caller makes calls: a Client, or what stands for a daemon where none runs.
// params is written as JSON, and the answer is read into result unless that is
// nil.
type Caller interface {
	Call(ctx context.Context, method string, params, result any) error
}

// Call calls the method. The errors are those of the Caller.
func (m Method[P, R]) Call(ctx context.Context, c Caller, params P) (result R, err error) {
	err = c.Call(ctx, string(m), params, &result)
	return result, err
}

// Handle pairs the method with what answers it. ctx ends with the call: when the
// caller goes away, or the server stops.
func (m Method[P, R]) Handle(f func(ctx context.Context, params P) (R, error)) Handler {
	return Handler{name: string(m), call: func(ctx context.Context, text jsontext.Value) (any, error) {
		var p P
		if err := readParams(text, &p); err != nil {
			return nil, err
		}
		return f(ctx, p)
	}}
}

// Follow hands each value to f until the stream ends, f returns an error, or ctx
// is done, which is no error.
func (m Stream[P, V]) Follow(ctx context.Context, c *Client, params P, f func(V) error) error {
	return c.stream(ctx, string(m), params, func(line []byte) error {
		var v V
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		return f(v)
	})
}

// Handle pairs the stream with what sends its values. ctx ends when the caller
// goes away, or the server stops.
func (m Stream[P, V]) Handle(f func(ctx context.Context, params P, send func(V) error) error) Handler {
	return Handler{name: string(m), stream: func(ctx context.Context, text jsontext.Value, send func(any) error) error {
		var p P
		if err := readParams(text, &p); err != nil {
			return err
		}
		return f(ctx, p, func(v V) error { return send(v) })
	}}
}

// Handler answers a method or a stream.
type Handler struct {
	name   string
	call   func(ctx context.Context, params jsontext.Value) (any, error)
	stream func(ctx context.Context, params jsontext.Value, send func(any) error) error
}

// Name is the method's name.
func (h Handler) Name() string { return h.name }

// readParams refuses a parameter that this side does not know: then the other side
// is of another version.
func readParams(text jsontext.Value, p any) error {
	if err := json.Unmarshal(text, p, json.RejectUnknownMembers(true)); err != nil {
		return &core.Error{Kind: core.Malformed, Public: "the daemon does not understand this call", Err: errOtherVersion}
	}
	return nil
}

// Local is a Caller without a socket: its handlers answer in this process.
type Local []Handler

// Call calls the handler of this name. Errors of handlers come back unchanged; a
// name without a handler is ErrNoDaemon.
func (l Local) Call(ctx context.Context, method string, params, result any) error {
	for _, h := range l {
		if h.name != method || h.call == nil {
			continue
		}
		text, err := json.Marshal(params, json.Deterministic(true))
		if err != nil {
			return err
		}
		answer, err := h.call(ctx, text)
		if err != nil || result == nil {
			return err
		}
		if text, err = json.Marshal(answer, json.Deterministic(true)); err != nil {
			return err
		}
		return json.Unmarshal(text, result)
	}
	return ErrNoDaemon
}

// errOtherVersion is why a daemon and a caller do not understand each other.
var errOtherVersion = errors.New("is it another version?")

// find is the handler of a name.
func find(handlers []Handler, name string) (Handler, error) {
	for _, h := range handlers {
		if h.name == name {
			return h, nil
		}
	}
	return Handler{}, &core.Error{Kind: core.NotFound, Public: fmt.Sprintf("the running daemon does not know %q", name), Err: errOtherVersion}
}
