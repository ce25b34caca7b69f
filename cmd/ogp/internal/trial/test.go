package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

type testView struct {
	Plugin string     `json:"plugin"`
	Passed int        `json:"passed"`
	Failed int        `json:"failed"`
	Cases  []caseView `json:"cases"`
}

type caseView struct {
	Name        string   `json:"name"`
	Passed      bool     `json:"passed"`
	Differences []string `json:"differences,omitempty"`
	Answer      core.Raw `json:"answer,omitempty"`
	Error       string   `json:"error,omitempty"`
	Fuel        int64    `json:"fuel"`
}

// TestCommand is "ogp plugin test".
func TestCommand(a *cli.App) *cobra.Command {
	var grant bool
	cmd := &cobra.Command{
		Use: "test <file, folder or name> [folder of cases]", Short: "Run a plugin's cases", Args: cobra.RangeArgs(1, 2),
		Long: "Run every case (*.json) of a folder, by default the folder \"cases\" beside the plugin, and compare the answers with what the cases expect. Exit status 1 says that one failed. A case may hold the answers of the servers that the plugin asks; otherwise requests go out only with --grant.\n\n  ogp plugin test ./small-only",
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			f, err := Find(ctx, a, args[0])
			if err != nil {
				return err
			}
			dir := filepath.Join(filepath.Dir(f.Spec.Path), "cases")
			if len(args) == 2 {
				dir = args[1]
			}
			v, err := testPlugin(ctx, a, f, dir, grant)
			if err != nil {
				return err
			}
			if a.JSON {
				a.WriteJSON(v)
			} else {
				showTest(a.Out, a, v)
			}
			if v.Failed > 0 {
				return cli.ErrPrinted(cli.Failed)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&grant, "grant", false, "let its requests go out")
	return cmd
}

// failing says how many of the cases fail.
func failing(failed, all int) string {
	if all == 1 {
		return "its only case fails"
	}
	if failed == 1 {
		return fmt.Sprintf("1 of its %d cases fails", all)
	}
	return fmt.Sprintf("%d of its %d cases fail", failed, all)
}

// Cases runs the cases that lie beside a plugin's module, before it is installed: those
// that fail are an error. It says how many there were.
func Cases(ctx context.Context, a *cli.App, spec plugin.Spec, module *plugin.Module) (int, error) {
	dir := filepath.Join(filepath.Dir(spec.Path), "cases")
	if entries, err := casesIn(dir); err != nil || len(entries) == 0 {
		return 0, err
	}
	v, err := testPlugin(ctx, a, &Found{Spec: spec, Module: module}, dir, false)
	if err != nil {
		return 0, err
	}
	if v.Failed > 0 {
		showTest(a.Err, a, v)
		e := core.Refusef(core.Malformed, "%s, nothing has changed", failing(v.Failed, v.Failed+v.Passed))
		e.Hint = "\"ogp plugin test\" runs them again; --no-cases installs it without them"
		return 0, e
	}
	return v.Passed, nil
}

func casesIn(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		e := core.Refusef(core.Malformed, "%s is not a folder", dir)
		e.Hint = "name the folder that holds the cases; \"ogp plugin run --case\" takes one case"
		return nil, e
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".json" }), nil
}

func testPlugin(ctx context.Context, a *cli.App, f *Found, dir string, grant bool) (testView, error) {
	v := testView{Plugin: f.Module.Manifest.Name}
	entries, err := casesIn(dir)
	if err != nil {
		return v, err
	}
	if len(entries) == 0 {
		what := "%s holds no case (*.json)"
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			what = "there is not a folder %s"
		}
		e := core.Refusef(core.NotFound, what, dir)
		e.Hint = `a case is {"input":{...},"expect":{...}}; sdk/ABI.md, "Cases"`
		return v, e
	}
	t, err := openTrials(a)
	if err != nil {
		return v, err
	}
	defer t.close()
	t.grant = grant
	for _, entry := range entries {
		one, err := t.testCase(ctx, f, filepath.Join(dir, entry.Name()))
		if err != nil {
			return v, err
		}
		v.Cases = append(v.Cases, one)
		if one.Passed {
			v.Passed++
		} else {
			v.Failed++
		}
	}
	return v, nil
}

func (t *trials) testCase(ctx context.Context, f *Found, file string) (caseView, error) {
	v := caseView{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
	c, err := readCase(t.a, file)
	if err == nil && len(c.Expect) == 0 {
		err = core.Refuse(core.Malformed, `it has no "expect"`)
	}
	var r runView
	if err == nil {
		r, err = t.runCase(ctx, f, c, "")
	}
	if ctx.Err() != nil {
		return v, ctx.Err()
	}
	v.Answer, v.Error, v.Fuel = r.Answer, r.Error, r.Fuel
	if err != nil {
		v.Error = err.Error()
	}
	if v.Error != "" {
		return v, nil
	}
	var have, want any
	if err := errors.Join(json.Unmarshal(r.Answer, &have), json.Unmarshal(c.Expect, &want)); err != nil {
		return v, err // both were read before
	}
	v.Differences = differences(nil, "", have, want)
	v.Passed = len(v.Differences) == 0
	return v, nil
}

// differences lists what want has and have has not: of an object each member, of a
// list all elements in order, all else as it is.
func differences(list []string, at string, have, want any) []string {
	differs := func() []string {
		return append(list, fmt.Sprintf("%s: got %s, want %s", strings.TrimPrefix(at+"", "."), compact(have), compact(want)))
	}
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return differs()
		}
		names := make([]string, 0, len(w))
		for name := range w {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if _, ok := h[name]; !ok {
				list = append(list, fmt.Sprintf("%s: got nothing, want %s", strings.TrimPrefix(at+"."+name, "."), compact(w[name])))
				continue
			}
			list = differences(list, at+"."+name, h[name], w[name])
		}
		return list
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return differs()
		}
		for i := range w {
			list = differences(list, fmt.Sprintf("%s[%d]", at, i), h[i], w[i])
		}
		return list
	}
	if have != want {
		return differs()
	}
	return list
}

func compact(v any) string {
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 200 {
		return strings.ToValidUTF8(string(text[:200]), "") + "…"
	}
	return string(text)
}

func showTest(to io.Writer, a *cli.App, v testView) {
	for _, c := range v.Cases {
		if c.Passed {
			fmt.Fprintf(to, "ok    %s\n", c.Name)
			continue
		}
		fmt.Fprintf(to, "FAIL  %s\n", c.Name)
		for _, d := range c.Differences {
			fmt.Fprintf(to, "      %s\n", term.SafeText(d))
		}
		if c.Error != "" {
			fmt.Fprintf(to, "      %s\n", term.SafeText(c.Error))
		}
	}
	fmt.Fprintf(a.Err, "%d passed, %d failed\n", v.Passed, v.Failed)
}
