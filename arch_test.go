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

// arrows are the rooms that a room imports.
type arrows struct {
	room    string
	imports []string
}

// rooms holds, for each room, the rooms that its code may import. A name ending in
// "/..." stands for a room with everything below it. The first line that fits
// counts. docs/architecture.md#imports
var rooms = []arrows{
	{"core", nil},

	// Mechanisms: each does one thing with the words of core.
	{"core/answer", []string{"core", "core/text"}},
	{"core/budget", []string{"core"}},
	{"core/files", nil},
	{"core/pages", nil},
	{"core/atomicfile", []string{"core/files"}},
	{"core/text", nil},
	{"core/logpipe", nil},
	{"core/jsjson", []string{"core"}},
	{"core/nesting", nil},
	{"core/keys", []string{"core", "core/atomicfile", "core/files"}},
	{"core/envelope", []string{"core", "core/jsjson", "core/keys"}},
	{"core/signer", []string{"core", "core/envelope", "core/keys", "core/text"}},
	{"core/freshness", []string{"core"}},
	{"core/peering", []string{"core"}},
	{"core/peers", []string{"core", "core/envelope", "core/peering", "core/text"}},
	{"core/ours", []string{"core", "core/scope"}},
	{"core/counts", []string{"core"}},
	{"core/digest", []string{"core", "core/text"}},
	{"core/window", []string{"core"}},
	{"core/nodes", []string{"core", "core/config"}},
	{"core/scope", []string{"core", "core/window"}},
	{"core/brake", []string{"core", "core/text"}},
	{"core/locks", []string{"core"}},
	{"core/lease", []string{"core", "core/locks"}},
	{"core/lease/leasetest", []string{"core"}},
	{"core/follow", []string{"core"}},
	{"core/outbox", []string{"core", "core/answer", "core/lease", "core/locks", "core/queue"}},
	{"core/queue", []string{"core"}},
	{"core/delivery", []string{"core", "core/lease", "core/queue"}},
	{"core/rules", []string{"core", "core/text"}},
	{"core/record", []string{"core"}},
	{"core/config", []string{"core", "core/brake", "core/delivery", "core/files", "core/nesting", "core/ours", "core/record", "core/rules", "core/scope", "core/text"}},
	{"core/settings", []string{"core", "core/atomicfile", "core/config", "core/files", "core/nesting"}},
	{"core/dial", []string{"core", "core/files"}},
	{"core/gate", []string{"core/files"}},
	{"core/web", []string{"core", "core/gate"}},
	{"core/legacy", []string{"core", "core/files", "core/keys", "core/text"}},
	{"core/store", []string{"core", "core/store/..."}},
	{"core/store/replica", []string{"core"}},
	{"core/store/storetest", []string{"core"}},
	{"core/store/internal/group", []string{"core"}},
	{"core/store/internal/rows", []string{"core"}},
	{"core/store/postgres", []string{"core", "core/store/internal/group", "core/store/internal/rows", "core/window"}},
	{"core/store/memory", []string{"core", "core/store/internal/group", "core/store/internal/rows", "core/window"}},
	{"core/store/sqlite", []string{"core", "core/store/internal/group", "core/store/internal/rows"}},
	{"core/plugin", []string{"core", "core/dial", "core/files", "core/nesting", "core/plugin/...", "core/scope", "core/text"}},
	{"core/plugin/guest", []string{"core"}},
	{"core/plugin/extism", []string{"core", "core/plugin/guest"}},
	{"core/plugin/compile", []string{"core", "core/files", "core/plugin/guest", "core/plugin/meter", "core/text"}},
	{"core/plugin/opa", []string{"core", "core/plugin/guest", "core/plugin/meter"}},
	{"core/plugin/...", nil},

	// The gateway composes them; plugins and store reach it as interfaces of core.
	{"core/gateway", []string{"core", "core/answer", "core/brake", "core/budget", "core/counts", "core/digest", "core/envelope", "core/follow", "core/freshness", "core/keys", "core/lease", "core/locks", "core/ours", "core/outbox", "core/peering", "core/peers", "core/queue", "core/scope", "core/text"}},
	// The one room that knows the plugin host and the gateway.
	{"core/hooks", []string{"core", "core/atomicfile", "core/files", "core/gateway", "core/plugin", "core/plugin/lookup", "core/rules", "core/scope"}},

	// Wires: both ends of a protocol, the gateway seen as an interface of their own.
	{"core/federation", []string{"core", "core/answer", "core/dial", "core/web"}},
	{"core/rendezvous", []string{"core", "core/atomicfile", "core/dial", "core/envelope", "core/gate", "core/keys", "core/web", "core/text"}},
	{"core/rendezvous/rendezvoustest", []string{"core/coretest/ports"}},
	{"core/rendezvous/valkey", []string{"core", "core/envelope", "core/files", "core/keys", "core/rendezvous"}},
	{"core/control", []string{"core", "core/gate", "core/web"}},
	// The table of methods: typed by what the daemon's parts show of themselves.
	{"core/control/api", []string{"core", "core/brake", "core/control", "core/delivery", "core/history", "core/hooks", "core/nodes", "core/peering", "core/plugin", "core/record", "core/rendezvous", "core/text", "core/trial"}},

	// The time machine: policies asked again, beside the gateway.
	{"core/replay", []string{"core", "core/config", "core/control/api", "core/files", "core/hooks", "core/plugin", "core/record", "core/store/memory"}},

	// Plugins run beside the gateway on cases, and what was uploaded.
	{"core/trial", []string{"core", "core/files", "core/hooks", "core/plugin"}},

	// What has happened within a day, in memory.
	{"core/history", []string{"core"}},

	// What an operator reads: pages, searches, threads.
	{"core/reader", []string{"core", "core/control", "core/control/api", "core/outbox", "core/peers"}},

	// The agent's role: what its own socket answers, in the words of notices.
	{"core/agent", []string{"core", "core/answer", "core/brake", "core/control", "core/control/api", "core/gateway", "core/hooks", "core/ours", "core/peering", "core/reader", "sdk", "sdk/wording"}},

	// The agent's door: tools over the agent's socket, never the store or the gateway.
	{"core/mcp", []string{"core", "core/control", "core/control/api", "sdk", "sdk/wording"}},

	// Peers as A2A agents: a door to the agent's role.
	{"core/a2a", []string{"core", "core/atomicfile", "core/control/api", "core/files", "core/gate", "core/queue"}},

	// The operator's page: a door to the typed calls.
	{"core/console", []string{"core", "core/control", "core/control/api", "core/gate", "core/history", "core/text"}},

	// For tests alone: anything of core.
	{"core/coretest", []string{"core", "core/..."}},
	{"core/coretest/ports", nil},

	// Guests run in the sandbox and know the SDK alone; the two folders embed them.
	{"sdk", nil},
	{"sdk/...", []string{"sdk"}},
	{"plugins", nil},
	{"plugins/...", []string{"sdk", "sdk/..."}},
	{"examples/plugins", nil},
	{"examples/plugins/...", []string{"sdk", "sdk/..."}},

	// What drives any gateway from outside.
	{"conformance", nil},

	// Serves the tools where a conformance suite can reach them.
	{".ci/newcomersink", nil},
	{".ci/mcpserver", []string{"core/control", "core/mcp"}},

	// The composition root, and the command line around it.
	{"core/daemon", []string{"core", "core/a2a", "core/agent", "core/atomicfile", "core/brake", "core/config", "core/console", "core/control", "core/control/api", "core/daemon/candidate", "core/daemon/certs", "core/daemon/doctor", "core/daemon/openclaw", "core/daemon/ownkey", "core/daemon/service", "core/delivery", "core/dial", "core/federation", "core/gate", "core/gateway", "core/history", "core/hooks", "core/keys", "core/lease", "core/legacy", "core/logpipe", "core/nodes", "core/ours", "core/outbox", "core/pages", "core/peering", "core/peers", "core/plugin", "core/reader", "core/record", "core/rendezvous", "core/replay", "core/rules", "core/settings", "core/store", "core/store/memory", "core/store/replica", "core/text", "core/tracing", "core/web"}},
	{"core/daemon/candidate", []string{"core", "core/config", "core/control/api", "core/files", "core/hooks", "core/replay", "core/settings", "core/text", "core/trial"}},
	{"core/daemon/ownkey", []string{"core", "core/config", "core/files", "core/keys", "core/signer"}},
	{"core/daemon/service", []string{"core/config"}},
	{"core/daemon/certs", []string{"core", "core/config", "core/files"}},
	{"core/daemon/doctor", []string{"core", "core/config", "core/control/api", "core/daemon/certs", "core/daemon/openclaw", "core/delivery", "core/dial", "core/federation", "core/gateway", "core/hooks", "core/keys", "core/peers", "core/plugin", "core/rendezvous", "core/text"}},
	{"core/tracing", []string{"core", "core/config", "core/counts", "core/delivery", "core/federation", "core/gateway"}},
	{"core/daemon/openclaw", []string{"core", "core/config", "core/dial", "core/files", "core/nesting"}},
	{"cmd/ogp", []string{"cmd/ogp/internal/...", "core", "core/brake", "core/config", "core/control", "core/control/api", "core/daemon", "core/hooks", "core/plugin", "core/scope", "core/settings", "core/text", "sdk/scaffold"}},
	{"cmd/ogp/internal/cli", []string{"cmd/ogp/internal/term", "core", "core/config", "core/control", "core/control/api", "core/daemon", "core/files", "plugins"}},
	{"cmd/ogp/internal/agents", []string{"cmd/ogp/internal/cli", "core", "core/atomicfile", "core/control", "core/daemon", "core/daemon/openclaw", "core/files", "core/mcp", "core/settings"}},
	{"cmd/ogp/internal/page", []string{"cmd/ogp/internal/cli", "core/config", "core/control/api"}},
	{"cmd/ogp/internal/term", []string{"core/text"}},
	{"cmd/ogp/internal/background", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/logs", "core", "core/control/api", "core/daemon"}},
	{"cmd/ogp/internal/backup", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core", "core/atomicfile", "core/control/api", "core/daemon", "core/files", "core/text"}},
	{"cmd/ogp/internal/former", []string{"cmd/ogp/internal/cli", "core"}},
	{"cmd/ogp/internal/complete", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core", "core/atomicfile", "core/config", "core/control", "core/control/api", "core/scope", "core/text", "sdk/scaffold"}},
	{"cmd/ogp/internal/conform", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "conformance", "core", "core/federation"}},
	{"cmd/ogp/internal/rendezvous", []string{"cmd/ogp/internal/cli", "core", "core/config", "core/daemon", "core/logpipe", "core/rendezvous", "core/rendezvous/valkey"}},
	{"cmd/ogp/internal/demo", []string{"cmd/ogp/internal/cli", "examples/plugins"}},
	{"cmd/ogp/internal/doctor", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core/config", "core/control", "core/control/api", "core/daemon", "core/text"}},
	{"cmd/ogp/internal/key", []string{"cmd/ogp/internal/cli", "core/control", "core/control/api", "core/daemon", "core/logpipe", "core/signer"}},
	{"cmd/ogp/internal/logs", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/service", "cmd/ogp/internal/term", "core", "core/control/api", "core/daemon"}},
	{"cmd/ogp/internal/manual", []string{"cmd/ogp/internal/cli"}},
	{"cmd/ogp/internal/licenses", []string{"cmd/ogp/internal/cli"}},
	{"cmd/ogp/internal/licenses/gen", nil},
	{"cmd/ogp/internal/migrate", []string{"cmd/ogp/internal/cli", "core", "core/atomicfile", "core/control", "core/control/api", "core/daemon", "core/files", "core/keys", "core/legacy"}},
	{"cmd/ogp/internal/service", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/settings", "cmd/ogp/internal/term", "core", "core/config", "core/control", "core/control/api"}},
	{"cmd/ogp/internal/settings", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core/config", "core/control/api", "core/settings"}},
	{"cmd/ogp/internal/setup", []string{"cmd/ogp/internal/background", "cmd/ogp/internal/cli", "cmd/ogp/internal/doctor", "cmd/ogp/internal/migrate", "cmd/ogp/internal/term", "core", "core/config", "core/control", "core/control/api", "core/daemon", "core/daemon/openclaw", "core/federation", "core/keys", "core/legacy", "core/settings", "core/text"}},
	{"cmd/ogp/internal/notify", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core", "core/atomicfile", "core/config", "core/control/api", "core/daemon", "core/hooks", "core/plugin", "core/settings", "core/text", "plugins"}},
	{"cmd/ogp/internal/trial", []string{"cmd/ogp/internal/cli", "cmd/ogp/internal/term", "core", "core/control/api", "core/daemon", "core/hooks", "core/plugin", "core/replay", "core/text", "core/trial"}},
}

// door is a library and the rooms that may import it.
type door struct {
	module string
	rooms  []string
}

// doors holds, for libraries of weight, the rooms that may import them. A library
// is named by the beginning of its path.
var doors = []door{
	{"github.com/gofiber/fiber", []string{"core/web", "core/federation", "core/rendezvous"}},
	{"github.com/valyala/fasthttp", []string{"core/web"}},
	{"github.com/tetratelabs/wazero", []string{"core/plugin", "core/plugin/..."}},
	{"cel.dev/cel-go", []string{"core/rules"}},
	{"github.com/extism/go-pdk", []string{"examples/plugins/extism-links"}},
	{"github.com/knadh/koanf", []string{"core/config"}},
	{"github.com/spf13/cobra", []string{"cmd/ogp", "cmd/ogp/internal/..."}},
	{"github.com/spf13/pflag", []string{"cmd/ogp/internal/...", "core/config"}},
	{"modernc.org/sqlite", []string{"core/store/sqlite"}},
	{"github.com/pressly/goose", []string{"core/store/postgres", "core/store/sqlite"}},
	{"github.com/jackc/pgx", []string{"core/store/postgres", "core/store/storetest"}},
	{"github.com/valkey-io/valkey-go", []string{"core/rendezvous/valkey"}},
	{"filippo.io/edwards25519", []string{"core/keys"}},
	{"github.com/oasisprotocol/curve25519-voi", []string{"core/keys"}},
	{"code.dny.dev/ssrf", []string{"core/dial"}},
	{"github.com/prometheus/client_golang", []string{"core/rendezvous", "core/daemon"}},
	{"github.com/caddyserver/certmagic", []string{"core/daemon/certs"}},
	{"go.opentelemetry.io", []string{"core/tracing"}},
	{"github.com/modelcontextprotocol/go-sdk", []string{"core/mcp", "cmd/ogp/internal/agents", ".ci/mcpserver"}},
	{"github.com/a2aproject/a2a-go", []string{"core/a2a"}},
	{"charm.land", []string{"cmd/ogp/internal/setup"}},
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

// lineOf is the line of the table for a room; -1: the table does not know it.
func lineOf(room string) int {
	for i, line := range rooms {
		if line.room == room {
			return i
		}
	}
	return slices.IndexFunc(rooms, func(line arrows) bool { return fits(line.room, room) })
}

// mayImport says which rooms a room may import; ok is false for a room that the
// table does not know.
func mayImport(room string) (imports []string, ok bool) {
	i := lineOf(room)
	if i < 0 {
		return nil, false
	}
	return rooms[i].imports, true
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
		if isGuest(s.room) && strings.Contains(name, ".") && !strings.HasPrefix(name, module+"/") && !slices.ContainsFunc(doors, func(d door) bool {
			return strings.HasPrefix(name, d.module) && fitsAny(d.rooms, s.room)
		}) {
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

// TestEveryArrowIsUsed: what the tables allow, somebody does. An arrow that nobody
// uses is one that nobody has thought about.
func TestEveryArrowIsUsed(t *testing.T) {
	used, opened := map[string]bool{}, map[string]bool{}
	for _, s := range sources(t, parser.ImportsOnly) {
		if s.test {
			continue
		}
		line := lineOf(s.room)
		for _, name := range s.imports() {
			if room, ours := strings.CutPrefix(name, module+"/"); ours {
				for _, p := range rooms[line].imports {
					used[rooms[line].room+" -> "+p] = used[rooms[line].room+" -> "+p] || fits(p, room)
				}
			}
			for _, door := range doors {
				for _, room := range door.rooms {
					if (name == door.module || strings.HasPrefix(name, door.module+"/")) && fits(room, s.room) {
						opened[door.module+" in "+room] = true
					}
				}
			}
		}
	}
	for _, line := range rooms {
		for _, p := range line.imports {
			if arrow := line.room + " -> " + p; !used[arrow] && !isGuest(strings.TrimSuffix(line.room, "...")) {
				t.Errorf("nobody uses %s", arrow)
			}
		}
	}
	for _, door := range doors {
		for _, room := range door.rooms {
			if way := door.module + " in " + room; !opened[way] {
				t.Errorf("nobody imports %s", way)
			}
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
		{"plugins/webhook", module + "/core", "plugins/webhook imports core"},
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

// TestN2NoInflatedBodies: fiber's Ctx.Body inflates a compressed body past the
// limit. Bodies are read with web.Body. docs/threat-model.md#n2
func TestN2NoInflatedBodies(t *testing.T) {
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

func TestN2NoInflatedBodiesRefuses(t *testing.T) {
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

// TestN2OneServer: net/http takes header lines that go on in the next. What listens to
// others is core/web's; core/control listens to this account alone.
// docs/threat-model.md#n2
func TestN2OneServer(t *testing.T) {
	var rooms []string
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.test || !strings.HasPrefix(s.room, "core/") && !strings.HasPrefix(s.room, "cmd/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				pkg, name := sel.X.(*ast.Ident)
				if name && pkg.Name == "http" && slices.Contains([]string{"Server", "Serve", "ListenAndServe"}, sel.Sel.Name) {
					rooms = append(rooms, s.room)
				}
			}
			return true
		})
	}
	// The A2A door streams, which handlers behind core/web do not; it is at loopback
	// alone, and asks for its token before it reads a body. So does the console, behind
	// its codes. core/gate makes none: it watches those three.
	if want := []string{"core/a2a", "core/console", "core/control", "core/gate"}; !slices.Equal(slices.Compact(rooms), want) {
		t.Errorf("servers of net/http in %v, want %v alone: core/web serves handlers of net/http too", rooms, want)
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
