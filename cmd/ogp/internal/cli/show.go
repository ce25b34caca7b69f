package cli

import (
	"context"
	"fmt"

	"github.com/opengatewayprotocol/ogp/core/control"
)

// Show calls a method of the running daemon and shows the answer: as JSON with --json,
// else as words prints it.
func Show[P, R any](ctx context.Context, a *App, m control.Method[P, R], p P, words func(R)) error {
	r, err := m.Call(ctx, a, p)
	switch {
	case err != nil:
		return err
	case a.JSON:
		a.WriteJSON(r)
	default:
		words(r)
	}
	return nil
}

// Done says on one line what a command has done, or with --json by v. It returns nil.
func (a *App) Done(v any, format string, args ...any) error {
	if a.JSON {
		a.WriteJSON(v)
		return nil
	}
	fmt.Fprintf(a.Out, format+"\n", args...)
	return nil
}
