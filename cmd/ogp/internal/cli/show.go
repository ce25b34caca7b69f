package cli

import (
	"context"
	"fmt"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core/control"
)

// Show calls a method of the running daemon and shows the answer: as JSON with --json,
// else as words prints it.
func Show[P, R any](ctx context.Context, a *App, m control.Method[P, R], p P, words func(R)) error {
	r, err := m.Call(ctx, a, p)
	if err != nil {
		return err
	}
	return a.Print(r, func() { words(r) })
}

// Print shows a value: as JSON with --json, else as words prints it. It returns nil.
func (a *App) Print(v any, words func()) error {
	if a.JSON {
		a.WriteJSON(v)
	} else {
		words()
	}
	return nil
}

// Table prints a row for each of a list, or says on standard error that there is none.
func Table[T any](a *App, list []T, none string, header []string, row func(T) []string) {
	if len(list) == 0 {
		fmt.Fprintln(a.Err, none)
		return
	}
	rows := make([][]string, len(list))
	for i, x := range list {
		rows[i] = row(x)
	}
	term.Table(a.Out, header, rows)
}

// Done says on one line what a command has done, or with --json by v. It returns nil.
func (a *App) Done(v any, format string, args ...any) error {
	return a.Print(v, func() { fmt.Fprintf(a.Out, format+"\n", args...) })
}
