package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// elsewhere are texts with a command for another gateway than the one that --home means,
// or for no gateway, and texts that are not printed.
var elsewhere = []string{
	"the command ogp whoami",                                 // at the peer
	"its operator runs: ogp federation",                      // there
	"its operator grants with: ogp federation",               // there
	"Share this with your peer",                              // the line is the field's
	"approves with \"ogp federation approve",                 // the peer does
	"with the token that \"ogp a2a token\" shows",            // to a client over HTTP
	"Approve the peer %s on the gateway",                     // the one under test
	"This is a test call of",                                 // a notice
	"Written by \"ogp service install\"",                     // in the unit
	"Write \"ogp mcp\" into",                                 // help
	"ogp start --network-allow-private",                      // config.toml
	"\"ogp config check\" finds mistakes, \"ogp config",      // config.toml
	"without the tools of \"ogp mcp\"",                       // config.toml
	"Nothing is left behind. To start your own gateway: ogp", // the demo's gateways are gone
	"as the command ogp whoami prints it there",              // at the peer
	"a line for what goes on, such as `ogp events`",          // the manual
	"ogp rendezvous snapshot",                                // a file
	"koanf:",                                                 // config.toml
}

// Commands that we print name the gateway that --home means. Only App.Here and App.Sayf
// put that in, and only where a command begins a text or stands in quotes.
func TestHintsNameTheGateway(t *testing.T) {
	var names []string
	for _, c := range root(&cli.App{}).Commands() {
		names = append(names, c.Name())
	}
	command := regexp.MustCompile(`(^|.)ogp (` + strings.Join(names, "|") + `)\b`)
	fset := token.NewFileSet()
	for _, top := range []string{".", "../../core"} {
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/gen/") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(string(source), "\n") {
				if printsFix.MatchString(line) && !strings.Contains(line, "Here(") && !strings.HasSuffix(path, "cli/errors.go") {
					t.Errorf("%s:%d: what to do is printed without App.Here", path, i+1)
				}
			}
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			var within []ast.Node
			ast.Inspect(f, func(n ast.Node) bool {
				if n == nil {
					within = within[:len(within)-1]
					return true
				}
				within = append(within, n)
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				text, _ := strconv.Unquote(lit.Value)
				said := command.FindAllStringSubmatch(text, -1)
				if said == nil || slices.ContainsFunc(elsewhere, func(s string) bool { return strings.Contains(text, s) }) {
					return true
				}
				how := printedBy(within, path)
				if how == "" {
					return true
				}
				for _, m := range said {
					if m[1] != "" && m[1] != `"` && m[1] != "\n" {
						t.Errorf("%s: %q stands within a text: put it in quotes, or --home is not put into it", fset.Position(lit.Pos()), m[0])
					}
				}
				if how != "here" {
					t.Errorf("%s: %q is printed without --home: by %s; App.Sayf, App.Here or an error's Hint put it in", fset.Position(lit.Pos()), text, how)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// heard are functions and declarations of which the text goes through App.Here where it is
// printed.
var heard = []string{"next", "nextSteps", "warningsNow", "unheard", "noteKey", "instead", "oneEach", "noTags", "pick",
	"nobodyHint", "tomlHint", "rejectHint", "corruptHint", "SplitRemedy", "FixDelivery", "FixPin", "behind", "oldForm", "askedStill", "Notify", "FindInbox", "FindOutbox",
	"withFlag", "Restart", "RestartByHand", "RestartInForeground", "PortFix", "fixPower", "lookAt"}

// printsFix is a line that prints what to do next.
var printsFix = regexp.MustCompile(`(Fprint|Optional\().*\.(Fix|Hint)\b`)

// fixes are functions of which the first argument, or all, are what to do next.
var fixes = []string{"Here", "Sayf", "Sayln", "UsageHint", "Failed", "HereFormat", "warnf", "no", "WithHint"}

// printedBy says how a text goes out: "here" where App.Here sees it, "" where it does
// not, else the name of the function that it is given to.
func printedBy(within []ast.Node, path string) string {
	lit := within[len(within)-1]
	for i := len(within) - 2; i >= 0; i-- {
		switch n := within[i].(type) {
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); ok && slices.Contains([]string{"Long", "Short", "Use"}, key.Name) || n.Key == lit {
				return ""
			} else if ok && slices.Contains([]string{"Hint", "Fix", "hint", "fix"}, key.Name) {
				return "here"
			}
		case *ast.AssignStmt:
			for _, left := range n.Lhs {
				name := ""
				switch l := left.(type) {
				case *ast.SelectorExpr:
					name = l.Sel.Name
				case *ast.Ident:
					name = l.Name
				}
				if name == "Long" {
					return ""
				}
				if strings.EqualFold(name, "hint") || strings.EqualFold(name, "fix") || name == "reload" {
					return "here"
				}
			}
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
			case *ast.Ident:
				name = f.Name
			}
			switch {
			case slices.Contains(fixes, name):
				return "here"
			case slices.Contains([]string{"Warn", "Fail", "fail", "notTaken"}, name) || name == "warn" && strings.HasSuffix(path, "problems.go"):
				// the text is behind what to do, but for notTaken
				at := slices.IndexFunc(n.Args, func(a ast.Expr) bool { return a.Pos() <= lit.Pos() && lit.Pos() < a.End() })
				if at <= 1 && name != "warn" && name != "fail" || at == 0 || name == "notTaken" && at == 3 {
					return "here"
				}
				return name
			case name == "refuse" && strings.Contains(lit.(*ast.BasicLit).Value, " - "): // SplitRemedy parts that
				return "here"
			case name == "gone": // finds the former command
				return ""
			case name == "Sprintf" || name == "warn" || name == "transition" || name == "pick" || name == "Sprint" || name == "append" || name == "Or" || name == "Join":
			default:
				return name
			}
		case *ast.FuncDecl:
			if slices.Contains(heard, n.Name.Name) {
				return "here"
			}
			return "function " + n.Name.Name
		case *ast.ValueSpec:
			if slices.Contains(heard, n.Names[0].Name) {
				return "here"
			}
			return "declaration " + n.Names[0].Name
		}
	}
	return "?"
}
