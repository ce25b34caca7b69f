package cli

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
)

// TestPages: however a list is cut into pages, it is printed as if it came in one, and each
// page before the next is asked for.
func TestPages(t *testing.T) {
	type item struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	row := func(x item) []string { return []string{x.Name, strings.Join(x.Tags, " ")} }
	for n := range 6 {
		var list []item
		for i := range n {
			list = append(list, item{"x" + strings.Repeat("y", 5-i), slices.Repeat([]string{"[,\n]"}, i)})
		}
		for _, asJSON := range []bool{true, false} {
			var whole, paged, whyWhole, whyPaged strings.Builder
			a := &App{JSON: asJSON, Out: &whole, Err: &whyWhole}
			_ = a.Print(slices.Concat([]item{}, list), func() { Table(a, list, "None.", []string{"NAME", "TAGS"}, row) })
			seen := ""
			pages := func(yield func([]item, error) bool) {
				for page := range slices.Chunk(list, 2) {
					if !yield(page, nil) || paged.String() == seen {
						t.Error("a page is not printed before the next")
						return
					}
					seen = paged.String()
				}
				yield(nil, nil)
			}
			err := Pages(&App{JSON: asJSON, Out: &paged, Err: &whyPaged}, pages, "None.", []string{"NAME", "TAGS"}, row)
			if err != nil || asJSON && paged.String() != whole.String() || strings.Count(paged.String(), "\n") != strings.Count(whole.String(), "\n") || whyPaged.String() != whyWhole.String() {
				t.Errorf("%d in pages, JSON %v: %v\n%s%swant\n%s%s", n, asJSON, err, paged.String(), whyPaged.String(), whole.String(), whyWhole.String())
			}
		}
	}
	broken := errors.New("broken")
	if err := Pages(&App{Out: &strings.Builder{}}, func(yield func([]item, error) bool) { yield(nil, broken) }, "", nil, row); err != broken {
		t.Errorf("Pages = %v, want its page's error", err)
	}
}

// TestPagesThatEnd: what is on standard output with --json is one value, wherever a list ends
// with an error, and the exit status is that of the error.
func TestPagesThatEnd(t *testing.T) {
	for n, want := range []string{`{`, "[\n  1,\n  2\n]\n", "[\n  1,\n  2,\n  1,\n  2\n]\n"} {
		var out, why strings.Builder
		a := &App{JSON: true, Out: &out, Err: &why}
		err := Pages(a, func(yield func([]int, error) bool) {
			for range n {
				yield([]int{1, 2}, nil)
			}
			yield(nil, core.Refuse(core.Unreachable, "it went away"))
		}, "None.", nil, func(int) []string { return nil })
		code := a.Fail(&cobra.Command{}, err)
		if code != Unreachable || !jsontext.Value(out.String()).IsValid() || !strings.HasPrefix(out.String(), want) || strings.Contains(why.String(), "it went away") != (n > 0) {
			t.Errorf("%d pages: status %d, %q, and %q, want %q", n, code, out.String(), why.String(), want)
		}
	}
}
