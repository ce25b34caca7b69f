package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// Fail says what went wrong and what to do next, and returns the exit status.
func (a *App) Fail(cmd *cobra.Command, err error) int {
	if printed, ok := errors.AsType[ErrPrinted](err); ok {
		return int(printed)
	}
	view, code := Describe(err)
	if dir, err := a.StateDir(); code == NoDaemon && err == nil {
		view.Message += " on " + dir
	}
	var usage UsageError
	errors.As(err, &usage)
	view.Hint = a.Here(view.Hint)
	if a.JSON {
		if usage.Usage != "" {
			view.Hint = "usage: " + usage.Usage
		}
		out := a.Out
		if _, some := errors.AsType[errPrintedSome](err); some { // another value would be glued to it
			out = a.Err
		}
		fmt.Fprintln(out, jsonText(map[string]api.ErrorView{"error": view}))
		return code
	}
	fmt.Fprintf(a.Err, "%s: %s\n", cmd.CommandPath(), term.SafeText(view.Message))
	if usage.Usage != "" {
		fmt.Fprintf(a.Err, "usage: %s\n", usage.Usage)
	}
	for _, c := range view.Candidates {
		fmt.Fprintf(a.Err, "  %s\n", c)
	}
	if view.Hint != "" {
		fmt.Fprintf(a.Err, "hint: %s\n", strings.ReplaceAll(view.Hint, "\n", "\n      "))
	}
	return code
}

// errPrintedSome is an error behind a part of the result, which is on standard output.
type errPrintedSome struct{ error }

func (e errPrintedSome) Unwrap() error { return e.error }

// Describe shows an error, and says with which status the program exits.
func Describe(err error) (api.ErrorView, int) {
	view := api.ErrorOf(err)
	var usage UsageError
	var settings config.Problems
	var e *core.Error
	if errors.As(err, &settings) {
		view.Kind, view.Hint = "config", settings.Hint()
	}
	switch {
	case errors.Is(err, control.ErrNoDaemon):
		return api.ErrorView{Kind: "no-daemon", Message: "no daemon is running",
			Hint: `"ogp start" runs it here, "ogp start --background" in the background`}, NoDaemon
	case errors.As(err, &usage), slices.ContainsFunc(settings, onFlag):
		view.Kind = "usage"
		view.Hint = strings.TrimPrefix(view.Hint+"\n"+usage.Hint, "\n")
		view.Hint = strings.TrimSuffix(view.Hint, "\n")
		return view, Usage
	case errors.Is(err, context.Canceled):
		view.Kind, view.Message = "canceled", "interrupted"
		return view, Failed
	case errors.As(err, &e):
		switch e.Kind {
		case core.Refused:
			return view, Refused
		case core.Unreachable:
			return view, Unreachable
		}
	}
	return view, Failed
}

// onFlag reports whether a mistake in the settings was made on the command line.
func onFlag(p config.Problem) bool { return strings.HasPrefix(p.Where, "--") }

// WriteJSON prints one value. Nothing in it can act on a terminal.
func (a *App) WriteJSON(v any) { fmt.Fprintln(a.Out, jsonText(v)) }

func jsonText(v any) string {
	text, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic(err) // our own views
	}
	return string(term.SafeJSON(text))
}
