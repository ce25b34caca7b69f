package trial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestView is what came of a plugin's cases.
type TestView struct {
	Plugin string     `json:"plugin"`
	Passed int        `json:"passed"`
	Failed int        `json:"failed"`
	Cases  []CaseView `json:"cases"`
}

// CaseView is what came of one case.
type CaseView struct {
	Name        string   `json:"name"`
	Passed      bool     `json:"passed"`
	Differences []string `json:"differences,omitempty"`
	Answer      core.Raw `json:"answer,omitempty"`
	Error       string   `json:"error,omitempty"`
	Fuel        int64    `json:"fuel"`
}

// CasesIn lists the cases (*.json) of a folder, none where there is not one.
func CasesIn(dir string) ([]os.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, core.Refusef(core.Malformed, "%s is not a folder", dir).WithHint(
			"name the folder that holds the cases; \"ogp plugin run --case\" takes one case")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e os.DirEntry) bool { return filepath.Ext(e.Name()) != ".json" }), nil
}

// Test runs all cases of a folder, of which there must be one. A case that fails is part of
// the view.
func (h *Host) Test(ctx context.Context, f *Plugin, dir string) (TestView, error) {
	v := TestView{Plugin: f.Module.Manifest.Name}
	entries, err := CasesIn(dir)
	if err != nil {
		return v, err
	}
	if len(entries) == 0 {
		what := "%s holds no case (*.json)"
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			what = "there is no folder %s"
		}
		return v, core.Refusef(core.NotFound, what, dir).WithHint(`a case is {"input":{...},"expect":{...}}; sdk/ABI.md, "Cases"`)
	}
	for _, entry := range entries {
		one, err := h.testCase(ctx, f, filepath.Join(dir, entry.Name()))
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

func caseFile(path string) (Case, error) {
	f, err := os.Open(path)
	if err != nil {
		return Case{}, err
	}
	defer f.Close()
	return ReadCase(f, path)
}

func (h *Host) testCase(ctx context.Context, f *Plugin, file string) (CaseView, error) {
	v := CaseView{Name: strings.TrimSuffix(filepath.Base(file), ".json")}
	c, err := caseFile(file)
	if err == nil && len(c.Expect) == 0 {
		err = core.Refuse(core.Malformed, `it has no "expect"`)
	}
	var r RunView
	if err == nil {
		r, err = h.Run(ctx, f, c, "")
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
		for _, name := range slices.Sorted(maps.Keys(w)) {
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

// Try loads a plugin, which runs its self-tests, and runs the cases that lie beside its
// module. The error is that of ctx, or of reading; what the plugin does wrong is in the result.
func (h *Host) Try(ctx context.Context, f *Plugin) (r Result, err error) {
	p, err := h.Load(ctx, f, Case{})
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	if err != nil {
		r.Failed = NotLoaded(err)
		return r, nil
	}
	p.Close()
	dir := filepath.Join(filepath.Dir(f.Spec.Path), casesDir)
	if entries, err := CasesIn(dir); err != nil || len(entries) == 0 {
		return r, err
	}
	r.Cases, err = h.Test(ctx, f, dir)
	return r, err
}

// Failing is why a plugin with such cases is not installed; nil where none fails.
func (v TestView) Failing() error {
	all := v.Failed + v.Passed
	switch {
	case v.Failed == 0:
		return nil
	case all == 1:
		return core.Refuse(core.Malformed, "its only case fails, nothing has changed")
	case v.Failed == 1:
		return core.Refusef(core.Malformed, "1 of its %d cases fails, nothing has changed", all)
	}
	return core.Refusef(core.Malformed, "%d of its %d cases fail, nothing has changed", v.Failed, all)
}
