package cli

import (
	"context"
	"fmt"
	"iter"
	"strings"

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
	term.Table(a.Out, header, rowsOf(list, row))
}

func rowsOf[T any](list []T, row func(T) []string) [][]string {
	rows := make([][]string, len(list))
	for i, x := range list {
		rows[i] = row(x)
	}
	return rows
}

// Pages is Table, or with --json one list, for what comes in pages: each is printed as soon
// as it is here. With --json, an error behind the first ends the list, and is said on standard
// error alone: what was printed stays one value.
func Pages[T any](a *App, pages iter.Seq2[[]T, error], none string, header []string, row func(T) []string) error {
	before, table := "[", term.NewRows(a.Out, header)
	for page, err := range pages {
		switch {
		case err != nil && a.JSON && before != "[":
			fmt.Fprintln(a.Out, "\n]")
			return errPrintedSome{err}
		case err != nil:
			return err
		case len(page) == 0:
			continue
		case a.JSON:
			fmt.Fprint(a.Out, before, elements(page))
		default:
			table.Add(rowsOf(page, row))
		}
		before = ","
	}
	switch empty := before == "["; {
	case empty && a.JSON:
		fmt.Fprintln(a.Out, "[]")
	case empty:
		fmt.Fprintln(a.Err, none)
	case a.JSON:
		fmt.Fprintln(a.Out, "\n]")
	}
	return nil
}

// elements are those of a list as it is printed in JSON.
func elements[T any](list []T) string {
	return strings.TrimSuffix(strings.TrimPrefix(jsonText(list), "["), "\n]")
}

// Done says on one line what a command has done, or with --json by v. It returns nil.
func (a *App) Done(v any, format string, args ...any) error {
	return a.Print(v, func() { fmt.Fprintf(a.Out, format+"\n", args...) })
}
