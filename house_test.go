package ogp_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// What the code may measure at most, in lines, without tests.
const (
	mostPackage    = 5000
	mostMain       = 4000
	mostFile       = 500
	mostFunction   = 80
	mostComplexity = 20
)

// protocolTables are the switches over a protocol's table or a grammar, which read best in
// one piece, however many cases they have.
var protocolTables = map[string]bool{
	"core/gateway.act":              true, // what each answer means in each state of trust
	"core/peering.Apply":            true, // what each state of trust keeps
	"core/plugin/meter.instruction": true, // the opcodes of WebAssembly
	"core/plugin/meter.control":     true, // those of blocks, branches and calls
	"sdk.hidden":                    true, // ranges of Unicode
	"sdk.ParseTime":                 true, // RFC 3339
	"sdk.OutcomeOf":                 true, // what each status of HTTP means for a notification
}

// Every room stays small enough to be read.
func TestHouse(t *testing.T) {
	files := token.NewFileSet()
	rooms, used := map[string]int{}, map[string]bool{}
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && name != "." && (e.Name() == "testdata" || strings.HasPrefix(e.Name(), ".")) {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(files, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		room := path.Dir(filepath.ToSlash(name))
		lines := bytes.Count(text, []byte("\n"))
		if rooms[room] += lines; lines > mostFile && !ast.IsGenerated(parsed) {
			t.Errorf("%s has %d lines, want at most %d", name, lines, mostFile)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			at := files.Position(f.Pos())
			if lines := files.Position(f.End()).Line - at.Line + 1; lines > mostFunction {
				t.Errorf("%s: %s has %d lines, want at most %d", at, f.Name.Name, lines, mostFunction)
			}
			full := room + "." + f.Name.Name
			if n := complexity(f); n > mostComplexity {
				if used[full] = true; !protocolTables[full] {
					t.Errorf("%s: %s has a complexity of %d, want at most %d: name its steps, or make a table of its cases", at, f.Name.Name, n, mostComplexity)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room, lines := range rooms {
		most := mostPackage
		if room == "cmd/ogp" {
			most = mostMain
		}
		if lines > most {
			t.Errorf("%s has %d lines, want at most %d: move out a part that has a purpose of its own", room, lines, most)
		}
	}
	for name := range protocolTables {
		if !used[name] {
			t.Errorf("%s is in protocolTables, and needs it no more", name)
		}
	}
}

// complexity counts the ways through a function, as McCabe has it.
func complexity(f *ast.FuncDecl) int {
	n := 1
	ast.Inspect(f, func(node ast.Node) bool {
		switch x := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			n += min(1, len(x.List))
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// The counters count what they are said to.
func TestComplexity(t *testing.T) {
	for body, want := range map[string]int{
		"":                                       1,
		"if a && b || c { }":                     4,
		"for range x { for a { } }":              3,
		"switch { case a, b: case c: default: }": 3,
		"select { case <-x: default: }":          2,
		"f := func() { if a { } }; f()":          2,
	} {
		parsed, err := parser.ParseFile(token.NewFileSet(), "", fmt.Sprintf("package p\nfunc f() { %s }", body), 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := complexity(parsed.Decls[0].(*ast.FuncDecl)); n != want {
			t.Errorf("complexity of %q = %d, want %d", body, n, want)
		}
	}
}
