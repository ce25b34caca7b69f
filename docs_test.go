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
	named := regexp.MustCompile(`^[KLTRNVPS]\d+`)
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
