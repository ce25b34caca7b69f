package ogp_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// What we write as JSON has one order of members: a map, or a value that may
// hold one, is never marshalled in the order of the day.
func TestJSONHasOneOrder(t *testing.T) {
	for _, root := range []string{"core", "cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range f.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				open := openFields(fn.Type.Params)
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					switch n := n.(type) {
					case *ast.FuncLit:
						for name := range openFields(n.Type.Params) {
							open[name] = true
						}
					case *ast.CallExpr:
						if value := marshalled(n); value != nil && unordered(value, open) && !ordered(n.Args) {
							t.Errorf("%s: write it with json.Deterministic(true)", files.Position(n.Pos()))
						}
					}
					return true
				})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// openFields are the parameters of type any.
func openFields(params *ast.FieldList) map[string]bool {
	open := map[string]bool{}
	for _, p := range params.List {
		if id, ok := p.Type.(*ast.Ident); ok && id.Name == "any" {
			for _, name := range p.Names {
				open[name.Name] = true
			}
		}
	}
	return open
}

// marshalled is the value that a call writes as JSON, nil for any other call.
func marshalled(call *ast.CallExpr) ast.Expr {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "json" {
		return nil
	}
	switch sel.Sel.Name {
	case "Marshal":
		return call.Args[0]
	case "MarshalWrite", "MarshalEncode":
		return call.Args[1]
	}
	return nil
}

// unordered reports whether a value is a map of several members, or may be one.
func unordered(value ast.Expr, open map[string]bool) bool {
	switch v := value.(type) {
	case *ast.Ident:
		return open[v.Name]
	case *ast.CompositeLit:
		_, isMap := v.Type.(*ast.MapType)
		return isMap && len(v.Elts) > 1
	}
	return false
}

func ordered(args []ast.Expr) bool {
	for _, a := range args {
		if call, ok := a.(*ast.CallExpr); ok {
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Deterministic" {
				return true
			}
		}
	}
	return false
}
