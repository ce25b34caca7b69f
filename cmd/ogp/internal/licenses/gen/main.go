// Command gen writes licenses.txt and licenses.txt.gz: the modules that are linked into ogp, on every
// platform that is released, and their licences, the same text once. Its argument is
// the root of the repository. With -check it writes nothing, and fails where the file
// is another one.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// platforms are those of .goreleaser.yaml: what is linked in differs by the system alone.
var platforms = []string{"linux", "darwin", "windows"}

// names are how modules call the file of their licence, or of what goes with it.
var names = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)(\.(txt|md|rst))?$`)

const ours = "github.com/opengatewayprotocol/ogp"

func main() {
	check := flag.Bool("check", false, "only compare")
	flag.Parse()
	root := flag.Arg(0)
	file := filepath.Join(root, "cmd", "ogp", "internal", "licenses", "licenses.txt")
	text, err := generate(root)
	if err != nil {
		log.Fatal(err)
	}
	if !*check {
		if err := write(file, text); err != nil {
			log.Fatal(err)
		}
		return
	}
	now, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	if !bytes.Equal(now, text) {
		log.Fatalf("%s is not what is linked in: go generate ./cmd/ogp/internal/licenses", file)
	}
}

// write writes the text, and beside it the one that is embedded.
func write(file string, text []byte) error {
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file+".gz", packed.Bytes(), 0o644)
}

// module is one that is linked in.
type module struct{ path, version, dir string }

func generate(root string) ([]byte, error) {
	linked := map[string]module{}
	for _, system := range platforms {
		if err := list(root, system, linked); err != nil {
			return nil, err
		}
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	var out, texts bytes.Buffer
	fmt.Fprintf(&out, "What is linked into ogp beside its own code (MIT, see LICENSE), on any platform.\n\n")
	users := map[string][]string{} // of a text
	var order []string
	use := func(text, who string) {
		if users[text] == nil {
			order = append(order, text)
		}
		users[text] = append(users[text], who)
	}
	standard, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if err != nil {
		return nil, err
	}
	use(clean(standard), "the Go standard library and runtime")
	for _, path := range slices.Sorted(maps.Keys(linked)) {
		m := linked[path]
		fmt.Fprintf(&out, "  %s %s\n", m.path, m.version)
		files, err := licenses(m)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			use(f, m.path)
		}
	}
	for _, text := range order {
		fmt.Fprintf(&texts, "\n%s\n%s\n\n%s\n", strings.Repeat("-", 80), strings.Join(users[text], "\n"), text)
	}
	return append(out.Bytes(), texts.Bytes()...), nil
}

// list adds the modules that are linked in on a system.
func list(root, system string, linked map[string]module) error {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}", "./cmd/ogp")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go list for %s: %w", system, err)
	}
	for line := range strings.Lines(string(out)) {
		if p := strings.Split(strings.TrimSpace(line), "\t"); len(p) == 3 && p[0] != ours {
			linked[p[0]] = module{p[0], p[1], p[2]}
		}
	}
	return nil
}

// licenses are the texts that a module comes with.
func licenses(m module) ([]string, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if !names.MatchString(e.Name()) || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.dir, e.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, clean(text))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no licence in %s", m.path, m.dir)
	}
	return out, nil
}

// clean is a text with plain line ends and nothing around it.
func clean(text []byte) string {
	return strings.TrimSpace(strings.NewReplacer("\r\n", "\n", "\f", "").Replace(string(text)))
}
