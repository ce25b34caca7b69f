package daemon

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"testing"
)

// Every method of the local API has a handler, and every handler a method.
func TestEveryMethodIsHandled(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "control", "api", "methods.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, e := range v.Values {
				name, err := strconv.Unquote(e.(*ast.BasicLit).Value)
				if err != nil || want[name] {
					t.Errorf("method %s twice, or %v", name, err)
				}
				want[name] = true
			}
		}
		return true
	})
	if len(want) < 20 {
		t.Fatalf("only %d methods found", len(want))
	}
	for _, h := range new(Daemon).handlers() {
		if !want[h.Name()] {
			t.Errorf("%s is handled and no method of the table, or handled twice", h.Name())
		}
		delete(want, h.Name())
	}
	for name := range want {
		t.Errorf("nobody handles %s", name)
	}
}
