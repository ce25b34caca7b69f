// Package licenses has the licences of what is linked into the program: of Go itself and
// of every module, on every platform that is released. Text and list are made from the
// modules, and committed, so that packages and images can carry the same file:
//
//	go generate ./cmd/ogp/internal/licenses
package licenses

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

//go:generate go run ./gen ../../../..

// packed is licenses.txt, which is beside it for packages, a tenth as large. gen writes both.
//
//go:embed licenses.txt.gz
var packed []byte

// Text is the list of the modules, and behind it their licences.
var Text = sync.OnceValue(func() string {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		panic(err) // a test reads it
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	return string(text)
})

// Module is a module that is linked in.
type Module struct {
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Modules are those of Text.
func Modules() []Module {
	var out []Module
	for line := range strings.Lines(Text()) {
		if path, version, ok := strings.Cut(strings.TrimPrefix(line, "  "), " "); ok && strings.HasPrefix(line, "  ") && strings.Contains(path, ".") {
			out = append(out, Module{path, strings.TrimSpace(version)})
			continue
		}
		if strings.HasPrefix(line, "---") {
			break
		}
	}
	return out
}

// Command prints the licences.
func Command(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "licenses", Short: "Print the licences of the modules in this program", Args: cobra.NoArgs,
		Long: "Print which modules are linked into this program, and their licences. With --json,\nthe list alone.\n\n  ogp licenses | less",
		RunE: func(*cobra.Command, []string) error {
			return a.Print(Modules(), func() {
				fmt.Fprint(a.Out, Text())
			})
		},
	}
}
