package ogp_test

import (
	"go/ast"
	"go/parser"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/opengatewayprotocol/ogp/core/peering"
)

// A page is a document with the anchors that one can point to, in lower case.
type page map[string]bool

var (
	heading    = regexp.MustCompile(`^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$`)
	fence      = regexp.MustCompile("^ {0,3}(```|~~~)")
	markedID   = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	linkTarget = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codeSpan   = regexp.MustCompile("`[^`]*`")
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	tag        = regexp.MustCompile(`<[^>]+>`)
)

// prose gives the lines of a document that are not within code fences.
func prose(text string) []string {
	var out []string
	within := false
	for _, line := range strings.Split(text, "\n") {
		if fence.MatchString(line) {
			within = !within
			continue
		}
		if !within && !strings.HasPrefix(line, "    ") {
			out = append(out, line)
		}
	}
	return out
}

// slug is the anchor that GitHub gives a heading: lower case, spaces to dashes,
// punctuation gone.
func slug(text string) string {
	text = tag.ReplaceAllString(linkText.ReplaceAllString(text, "$1"), "")
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r == ' ' || r == '-':
			b.WriteRune('-')
		case r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}

// anchors reads a document. A heading that stands twice gets a number.
func anchors(text string) page {
	p, seen := page{}, map[string]int{}
	for _, line := range prose(text) {
		for _, m := range markedID.FindAllStringSubmatch(line, -1) {
			p[strings.ToLower(m[1])] = true
		}
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		s := slug(m[2])
		if n := seen[s]; n > 0 {
			p[s+"-"+strconv.Itoa(n)] = true
		}
		seen[s]++
		p[s] = true
	}
	return p
}

func TestAnchors(t *testing.T) {
	got := anchors("# A: The *wire*, `as` we speak it\n## Keys & ids\n## Keys & ids\n```sh\n# no heading\n```\n### K1\n<a id=\"Old-Name\"></a>\n")
	want := page{"a-the-wire-as-we-speak-it": true, "keys--ids": true, "keys--ids-1": true, "k1": true, "old-name": true}
	if len(got) != len(want) {
		t.Errorf("anchors = %v, want %v", got, want)
	}
	for a := range want {
		if !got[a] {
			t.Errorf("anchors = %v, want %q among them", got, a)
		}
	}
}

// library reads documents once each.
type library map[string]page

// problem says why a pointer to name#anchor leads nowhere, or "".
func (l library) problem(name, anchor string) string {
	p, ok := l[name]
	if !ok {
		if info, err := os.Stat(filepath.FromSlash(name)); err != nil || anchor != "" && info.IsDir() {
			return "there is no such file"
		}
		if path.Ext(name) != ".md" {
			return ""
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			return err.Error()
		}
		p = anchors(string(text))
		l[name] = p
	}
	if anchor != "" && !p[strings.ToLower(anchor)] {
		return "the file has no such anchor"
	}
	return ""
}

// pointer is what a comment points with: docs/protocol.md#trust, sdk/ABI.md,
// docs/threat-model.md#n2, #n3.
var pointer = regexp.MustCompile(`\b((?:docs|sdk)/[\w-]+\.md)(#[\w-]+)?((?:,\s+#[\w-]+)*)`)

// TestPointersOfComments: what a Go comment points to is there.
func TestPointersOfComments(t *testing.T) {
	l, found := library{}, 0
	for _, s := range sources(t, parser.ParseComments|parser.SkipObjectResolution) {
		for _, group := range s.file.Comments {
			for _, m := range pointer.FindAllStringSubmatch(group.Text(), -1) {
				name, targets := m[1], []string{strings.TrimPrefix(m[2], "#")}
				for _, more := range strings.Split(m[3], "#") {
					if more = strings.Trim(more, ", \n"); more != "" {
						targets = append(targets, more)
					}
				}
				for _, anchor := range targets {
					found++
					if why := l.problem(name, anchor); why != "" {
						t.Errorf("%s points to %s#%s: %s", s.fset.Position(group.Pos()), name, anchor, why)
					}
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d pointers: they are not read any more", found)
	}
}

// TestLinks: the links of every document within the tree lead somewhere.
func TestLinks(t *testing.T) {
	l, found := library{}, 0
	for _, name := range files(t, ".md") {
		if strings.Contains(name, "/testdata/") || strings.Contains(name, "/templates/") {
			continue
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range prose(string(text)) {
			for _, m := range linkTarget.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
				file, anchor, _ := strings.Cut(m[1], "#")
				if strings.Contains(file, ":") { // another site
					continue
				}
				target := name
				if file != "" {
					target = path.Join(path.Dir(name), file)
				}
				found++
				if why := l.problem(target, anchor); why != "" {
					t.Errorf("%s links to %s: %s", name, m[1], why)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d links: they are not read any more", found)
	}
}

// promise is a heading of docs/threat-model.md that names one.
var promise = regexp.MustCompile(`^### ([A-Z]\d+)$`)

func promises(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range prose(string(text)) {
		if m := promise.FindStringSubmatch(line); m != nil {
			out = append(out, m[1])
		}
	}
	return out
}

// tests lists the names of the tree's tests: of functions without "Test", and of
// what t.Run is given as a literal.
func tests(t *testing.T) (functions, runs []string) {
	t.Helper()
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if !s.test && s.room != "core/store/storetest" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if name, ok := strings.CutPrefix(n.Name.Name, "Test"); ok && n.Recv == nil {
					functions = append(functions, name)
				}
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "Run" || len(n.Args) < 2 {
					return true
				}
				if lit, ok := n.Args[0].(*ast.BasicLit); ok {
					if name, err := strconv.Unquote(lit.Value); err == nil {
						runs = append(runs, name)
					}
				}
			}
			return true
		})
	}
	return functions, runs
}

// carries reports whether a test's name begins with the promise's: L1EveryByte and
// "L1 every byte" carry L1, and L12 does not.
func carries(test, name string) bool {
	rest, ok := strings.CutPrefix(test, name)
	return ok && (rest == "" || !unicode.IsDigit(rune(rest[0])) && !unicode.IsLower(rune(rest[0])))
}

// TestPromises: what docs/threat-model.md promises, a test shows.
func TestPromises(t *testing.T) {
	names := promises(t)
	if len(names) < 30 {
		t.Fatalf("docs/threat-model.md has %d promises", len(names))
	}
	functions, runs := tests(t)
	for _, name := range names {
		carried := func(test string) bool { return carries(test, name) }
		if !slices.ContainsFunc(functions, carried) && !slices.ContainsFunc(runs, carried) {
			t.Errorf("promise %s: no test carries its name (func Test%s..., or t.Run(%q))", name, name, name+" ...")
		}
	}
}

// TestPromisesOfTests: a test that carries the name of a promise carries that of
// one there is.
func TestPromisesOfTests(t *testing.T) {
	names := promises(t)
	named := regexp.MustCompile(`^[KLTRNVPSD]\d+`)
	functions, _ := tests(t)
	for _, f := range functions {
		if m := named.FindString(f); m != "" && !slices.Contains(names, m) {
			t.Errorf("Test%s: docs/threat-model.md has no promise %s", f, m)
		}
	}
}

var testName = regexp.MustCompile("`(Test[A-Z]\\w*)`")

// TestNamedTests: a test that a document names is there.
func TestNamedTests(t *testing.T) {
	functions, _ := tests(t)
	for _, name := range files(t, ".md") {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(functions, strings.TrimPrefix(m[1], "Test")) {
				t.Errorf("%s names %s, and there is no such test", name, m[1])
			}
		}
	}
}

// said are the lines of a document that a reader would type: code spans, fenced
// and indented lines, that begin with the program's name.
var said = regexp.MustCompile("(?m)(?:`|^ {4,}|^\\$ |^)(?:\\$ )?ogp ([a-z][^`\\n#|>]*)")

// TestCommandsOfDocuments: a command that a document shows is one that there is,
// and so are its flags.
func TestCommandsOfDocuments(t *testing.T) {
	words := literals(t)
	for name := range settings(t) {
		words[strings.NewReplacer(".", "-", "_", "-").Replace(name)] = true
	}
	for _, flag := range []string{"help", "version"} {
		words[flag] = true
	}
	groups, found := map[string]bool{"federation": true, "inbox": true, "config": true, "peers": true, "plugin": true}, 0
	for _, name := range documents(t) {
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range said.FindAllStringSubmatch(string(text), -1) {
			line := strings.Fields(m[1])
			want := line[:1]
			if groups[line[0]] && len(line) > 1 {
				want = line[:2]
			}
			for _, word := range want {
				for _, one := range strings.Split(strings.Trim(word, ".,;:"), "|") {
					if !words[one] {
						t.Errorf("%s shows \"ogp %s\", and there is no command %q", name, m[1], one)
					}
				}
			}
			for _, word := range line[1:] {
				if flag, ok := strings.CutPrefix(word, "--"); ok {
					flag, _, _ = strings.Cut(strings.Trim(flag, ".,;:)]"), "=")
					if flag, _, _ = strings.Cut(flag, "|"); !words[flag] {
						t.Errorf("%s shows \"ogp %s\", and there is no flag --%s", name, m[1], flag)
					}
				}
			}
			found++
		}
	}
	if found < 60 {
		t.Errorf("found %d commands: they are not read any more", found)
	}
}

// literals are the strings of cmd/ogp, and the first words of those that name a
// command with its arguments.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if !strings.HasPrefix(s.room, "cmd/ogp") || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(lit.Value); err == nil && text != "" {
					words[text] = true
					first, _, _ := strings.Cut(text, " ")
					words[first] = true
				}
			}
			return true
		})
	}
	return words
}

// documents are the pages for readers.
func documents(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, ".md"), func(name string) bool {
		return strings.Contains(name, "/testdata/") || strings.Contains(name, "/templates/")
	})
}

var (
	table   = regexp.MustCompile(`^#?\[\[?([a-z_.]+)\]\]?$`)
	setting = regexp.MustCompile(`^#?([a-z0-9_]+) = `)
	dotted  = regexp.MustCompile("`([a-z_]+)((?:\\.[a-z0-9_]+)+)(?: = [^`]*)?`")
)

// alike are names that look like settings: files, and a type of event.
var alike = map[string]bool{"key.json": true, "rendezvous.snapshot": true, "delivery.failed": true,
	"agent.sock": true, "agent.sent": true, "agent.replied": true, "agent.proposed": true}

// settings are the keys of config.example.toml.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	keys, within := map[string]bool{}, ""
	for _, line := range strings.Split(string(text), "\n") {
		if m := table.FindStringSubmatch(line); m != nil {
			within = m[1] + "."
			keys[m[1]] = true
		}
		if m := setting.FindStringSubmatch(line); m != nil {
			keys[within+m[1]] = true
		}
	}
	return keys
}

// TestSettingsOfDocuments: a setting that a document names is one that there is.
func TestSettingsOfDocuments(t *testing.T) {
	keys, found := settings(t), 0
	tables := map[string]bool{}
	for key := range keys {
		if head, _, ok := strings.Cut(key, "."); ok {
			tables[head] = true
		}
	}
	for _, name := range documents(t) {
		if !strings.HasPrefix(name, "docs/") && path.Dir(name) != "." {
			continue // plugins and the SDK have settings of their own
		}
		text, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range dotted.FindAllStringSubmatch(string(text), -1) {
			key := m[1] + m[2]
			if !tables[m[1]] || m[1] == "plugins" || alike[key] || path.Ext(key) == ".md" || path.Ext(key) == ".go" {
				continue
			}
			found++
			if !keys[key] {
				t.Errorf("%s names the setting %s, and there is none", name, key)
			}
		}
	}
	if found < 30 {
		t.Errorf("found %d settings: they are not read any more", found)
	}
}

// TestTrustTableOfDocument: the table of docs/protocol.md#trust is the table of
// core/peering.
func TestTrustTableOfDocument(t *testing.T) {
	text, err := os.ReadFile("docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 1+len(peering.Events) {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		state, _, _ := strings.Cut(strings.ReplaceAll(cells[0], "`", ""), " ")
		rows[state] = cells[1:]
	}
	for _, state := range peering.States {
		name := string(state)
		if state == peering.Stranger {
			name = "stranger"
		}
		row, ok := rows[name]
		if !ok {
			t.Errorf("the document has no row for %s", name)
			continue
		}
		for i, event := range peering.Events {
			want := "–"
			if to, ok := peering.Next(state, event); ok {
				want = string(to)
			}
			if row[i] != want {
				t.Errorf("%s in %s: the document says %q, the table %q", event, name, row[i], want)
			}
		}
	}
}

// quoted are the words of the program that a document quotes: code spans of a
// sentence's form.
var quoted = regexp.MustCompile("`([A-Z][a-z]+ [^`{}]*)`")

// TestTextsOfDocuments: what a document says that the program says, it says.
func TestTextsOfDocuments(t *testing.T) {
	var all strings.Builder
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.test || !strings.HasPrefix(s.room, "core") && !strings.HasPrefix(s.room, "cmd/ogp") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					all.WriteString(text + "\n")
				}
			}
			return true
		})
	}
	// What stands for something else ends a part that must be there word by word.
	parts := regexp.MustCompile(`<[a-z]+>|…|\d+ characters`)
	program, found := all.String(), 0
	for _, name := range []string{"docs/protocol.md", "docs/troubleshooting.md", "docs/threat-model.md", "docs/operating.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			found++
			for _, part := range parts.Split(m[1], -1) {
				if part = strings.Trim(part, " '\""); part != "" && !strings.Contains(program, part) {
					t.Errorf("%s quotes %q, and the program never says %q", name, m[1], part)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("found %d quotations: they are not read any more", found)
	}
}
