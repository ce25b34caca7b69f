// These tests hold what docs/architecture.md says of the tree: which room imports
// which, and which library stays behind which door. They read the import lines of
// the files themselves, so that no cache answers for them.
package ogp_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/opengatewayprotocol/ogp"

// rooms holds, for each room, the rooms that its code may import. A name ending in
// "/..." stands for a room with everything below it. The first line that fits
// counts. docs/architecture.md#imports
var rooms = []struct {
	room    string
	imports []string
}{
	{"core", nil},

	// Mechanisms: each does one thing with the words of core.
	{"core/answer", []string{"core"}},
	{"core/atomicfile", nil},
	{"core/text", nil},
	{"core/jsjson", []string{"core"}},
	{"core/nesting", nil},
	{"core/keys", []string{"core", "core/atomicfile"}},
	{"core/envelope", []string{"core", "core/jsjson", "core/keys"}},
	{"core/freshness", []string{"core"}},
	{"core/peering", []string{"core"}},
	{"core/scope", []string{"core"}},
	{"core/locks", []string{"core"}},
	{"core/outbox", []string{"core", "core/answer", "core/locks", "core/queue"}},
	{"core/queue", []string{"core"}},
	{"core/delivery", []string{"core", "core/queue"}},
	{"core/config", []string{"core", "core/atomicfile", "core/nesting", "core/text"}},
	{"core/dial", []string{"core"}},
	{"core/web", []string{"core"}},
	{"core/legacy", []string{"core", "core/keys", "core/text"}},
	{"core/store", []string{"core", "core/store/..."}},
	{"core/store/storetest", []string{"core"}},
	{"core/store/...", []string{"core"}},
	{"core/plugin", []string{"core", "core/dial", "core/nesting", "core/plugin/...", "core/scope", "core/text"}},
	{"core/plugin/...", nil},

	// The gateway composes them; plugins and store reach it as interfaces of core.
	{"core/gateway", []string{"core", "core/answer", "core/envelope", "core/freshness", "core/keys", "core/locks", "core/outbox", "core/peering", "core/queue", "core/scope", "core/text"}},
	// The one room that knows the plugin host and the gateway.
	{"core/hooks", []string{"core", "core/atomicfile", "core/gateway", "core/plugin", "core/scope"}},

	// Wires: both ends of a protocol, the gateway seen as an interface of their own.
	{"core/federation", []string{"core", "core/dial", "core/envelope", "core/web"}},
	{"core/rendezvous", []string{"core", "core/atomicfile", "core/dial", "core/envelope", "core/keys", "core/web", "core/text"}},
	{"core/rendezvous/rendezvoustest", nil},
	{"core/control", []string{"core", "core/web"}},
	// The table of methods: typed by what the daemon's parts show of themselves.
	{"core/control/api", []string{"core", "core/control", "core/delivery", "core/hooks", "core/peering", "core/plugin", "core/rendezvous"}},

	// For tests alone: anything of core.
	{"core/coretest", []string{"core", "core/..."}},

	// Guests run in the sandbox and know the SDK alone; the two folders embed them.
	{"sdk", nil},
	{"sdk/...", []string{"sdk", "sdk/..."}},
	{"plugins", nil},
	{"plugins/...", []string{"sdk", "sdk/..."}},
	{"examples/plugins", nil},
	{"examples/plugins/...", []string{"sdk", "sdk/..."}},

	// The program, and what drives any gateway from outside.
	{"conformance", []string{"core", "core/..."}},
	{"cmd/ogp", []string{"core", "core/...", "plugins", "examples/plugins", "sdk/scaffold", "conformance"}},
}

// doors holds, for libraries of weight, the rooms that may import them. A library
// is named by the beginning of its path.
var doors = []struct {
	module string
	rooms  []string
}{
	{"github.com/gofiber/fiber", []string{"core/web", "core/federation", "core/rendezvous"}},
	{"github.com/valyala/fasthttp", []string{"core/web"}},
	{"github.com/tetratelabs/wazero", []string{"core/plugin", "core/plugin/..."}},
	{"github.com/knadh/koanf", []string{"core/config"}},
	{"github.com/spf13/cobra", []string{"cmd/ogp"}},
	{"github.com/spf13/pflag", []string{"cmd/ogp", "core/config"}},
	{"modernc.org/sqlite", []string{"core/store/sqlite"}},
	{"github.com/pressly/goose", []string{"core/store/sqlite"}},
	{"filippo.io/edwards25519", []string{"core/keys"}},
	{"code.dny.dev/ssrf", []string{"core/dial"}},
	{"github.com/prometheus/client_golang", []string{"core/rendezvous", "cmd/ogp"}},
	{"github.com/caddyserver/certmagic", []string{"cmd/ogp"}},
	{"go.opentelemetry.io", []string{"cmd/ogp"}},
	{"charm.land", []string{"cmd/ogp"}},
}

// source is one Go file of the tree.
type source struct {
	path string // from the root, with slashes
	room string // its directory
	test bool
	file *ast.File
	fset *token.FileSet
}

// imports lists the paths that a file imports.
func (s source) imports() []string {
	var out []string
	for _, spec := range s.file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err) // it has been parsed
		}
		out = append(out, name)
	}
	return out
}

// sources parses every Go file of the tree. Templates and what tests feed to a
// compiler are left out: those under testdata and scaffold templates.
func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	var out []source
	for _, name := range files(t, ".go") {
		if strings.Contains(name, "/testdata/") || strings.Contains(name, "/templates/") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.FromSlash(name), nil, mode)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, source{name, path.Dir(name), strings.HasSuffix(name, "_test.go"), file, fset})
	}
	if len(out) < 100 {
		t.Fatalf("found %d Go files: not the root of the tree", len(out))
	}
	return out
}

// files lists the tree's files with an ending, from the root, with slashes.
func files(t *testing.T, ending string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "target"):
			return filepath.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(name, ending):
			out = append(out, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fits reports whether a room is the one of a pattern, or, for "x/...", below x.
func fits(pattern, room string) bool {
	if under, ok := strings.CutSuffix(pattern, "/..."); ok {
		return strings.HasPrefix(room, under+"/")
	}
	return pattern == room
}

func fitsAny(patterns []string, room string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return fits(p, room) })
}

// mayImport says which rooms a room may import; ok is false for a room that the
// table does not know.
func mayImport(room string) (imports []string, ok bool) {
	for _, line := range rooms {
		if line.room == room {
			return line.imports, true
		}
	}
	for _, line := range rooms {
		if fits(line.room, room) {
			return line.imports, true
		}
	}
	return nil, false
}

// badImports says what a file imports that it may not.
func badImports(s source) []string {
	var bad []string
	allowed, known := mayImport(s.room)
	if !known {
		return []string{fmt.Sprintf("%s: %s is no room of the table: give it a line in arch_test.go and in docs/architecture.md", s.path, s.room)}
	}
	for _, name := range s.imports() {
		if room, ours := strings.CutPrefix(name, module+"/"); ours && !fitsAny(allowed, room) {
			bad = append(bad, fmt.Sprintf("%s: %s imports %s", s.path, s.room, room))
		}
		if s.room == "core" && strings.Contains(name, ".") {
			bad = append(bad, fmt.Sprintf("%s: core imports %s, and may import the standard library alone", s.path, name))
		}
		if isGuest(s.room) && strings.Contains(name, ".") && !strings.HasPrefix(name, module+"/") {
			bad = append(bad, fmt.Sprintf("%s: a guest imports %s, and may import the SDK alone", s.path, name))
		}
		if name == "encoding/json" && strings.HasPrefix(s.room, "core") {
			bad = append(bad, s.path+": encoding/json folds case and takes the last duplicate; core reads JSON with github.com/go-json-experiment/json")
		}
		for _, door := range doors {
			if (name == door.module || strings.HasPrefix(name, door.module+"/")) && !fitsAny(door.rooms, s.room) {
				bad = append(bad, fmt.Sprintf("%s: %s imports %s, which stays in %s", s.path, s.room, name, strings.Join(door.rooms, ", ")))
			}
		}
	}
	return bad
}

// isGuest reports whether a room's code runs in the sandbox.
func isGuest(room string) bool {
	return room == "sdk" || strings.HasPrefix(room, "plugins/") || strings.HasPrefix(room, "examples/plugins/")
}

func TestImports(t *testing.T) {
	for _, s := range sources(t, parser.ImportsOnly) {
		if s.test {
			continue // a test may stand anywhere and look at everything
		}
		for _, bad := range badImports(s) {
			t.Error(bad)
		}
	}
}

// TestImportsRefuses shows that the table refuses: one wrong arrow of each kind.
func TestImportsRefuses(t *testing.T) {
	for _, c := range []struct{ room, imports, want string }{
		{"core", module + "/core/keys", "core imports core/keys"},
		{"core", "github.com/oklog/ulid/v2", "the standard library alone"},
		{"core/gateway", module + "/core/plugin", "core/gateway imports core/plugin"},
		{"core/gateway", module + "/core/store/sqlite", "core/gateway imports core/store/sqlite"},
		{"core/federation", module + "/core/gateway", "core/federation imports core/gateway"},
		{"core/gateway", "github.com/gofiber/fiber/v2", "which stays in core/web"},
		{"cmd/ogp", "github.com/tetratelabs/wazero/api", "which stays in core/plugin"},
		{"cmd/ogp", "github.com/knadh/koanf/v2", "which stays in core/config"},
		{"core/envelope", "encoding/json", "encoding/json folds case"},
		{"plugins/openclaw", module + "/core", "plugins/openclaw imports core"},
		{"examples/plugins/free-busy", "github.com/oklog/ulid/v2", "the SDK alone"},
		{"core/attic", "fmt", "no room of the table"},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", fmt.Sprintf("package x\nimport _ %q\n", c.imports), parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		got := badImports(source{path: c.room + "/x.go", room: c.room, file: file, fset: fset})
		if len(got) == 0 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s importing %s: %q, want one with %q", c.room, c.imports, got, c.want)
		}
	}
}

// TestRoomsAreThere: a line about a room that has gone is a line to take away.
func TestRoomsAreThere(t *testing.T) {
	there := map[string]bool{}
	for _, s := range sources(t, parser.ImportsOnly) {
		there[s.room] = true
	}
	for _, line := range rooms {
		found := false
		for room := range there {
			found = found || fits(line.room, room)
		}
		if !found {
			t.Errorf("the table has a line for %s, and there is no such room", line.room)
		}
	}
}

// TestNoInflatedBodies: fiber's Ctx.Body inflates a compressed body past the
// limit. Bodies are read with web.Body. docs/threat-model.md#n2
func TestNoInflatedBodies(t *testing.T) {
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if !slices.ContainsFunc(s.imports(), func(name string) bool { return strings.HasPrefix(name, "github.com/gofiber/fiber") }) {
			continue
		}
		for _, at := range bodyCalls(s) {
			t.Errorf("%s: fiber's Body() inflates past the limit; use web.Body", at)
		}
	}
}

// bodyCalls finds calls x.Body() on a plain name, which is what a handler calls
// its *fiber.Ctx.
func bodyCalls(s source) []token.Position {
	var found []token.Position
	ast.Inspect(s.file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) > 0 {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Body" {
			if _, name := sel.X.(*ast.Ident); name {
				found = append(found, s.fset.Position(call.Pos()))
			}
		}
		return true
	})
	return found
}

func TestNoInflatedBodiesRefuses(t *testing.T) {
	const text = "package x\nfunc f(c *fiber.Ctx) { g(c.Body()); g(c.BodyRaw()); g(web.Body(c)) }\n"
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := bodyCalls(source{file: file, fset: fset}); len(got) != 1 || got[0].Column != 26 {
		t.Errorf("found %v, want the one call of c.Body", got)
	}
}

// elsewhere finds paths that exist only where somebody once worked on the tree: a
// home directory, or a folder beside the repository.
var elsewhere = regexp.MustCompile(`(^|[\s"'(=` + "`" + `])(/w[o]rk/[\w.-]|\.\./sh[a]red\b)`)

// TestStandsAlone: no file names a path of the machine it was written on.
func TestStandsAlone(t *testing.T) {
	for _, name := range files(t, "") {
		switch path.Ext(name) {
		case ".go", ".md", ".toml", ".sh", ".yaml", ".yml", ".c", ".h", ".rs", ".ts", ".txt", ".txtar", ".mk", ".service", "":
		default:
			continue
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if m := elsewhere.FindString(line); m != "" {
				t.Errorf("%s:%d: %q is a path of one machine", name, i+1, m)
			}
		}
	}
}
