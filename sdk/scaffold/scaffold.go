// Package scaffold writes new plugin projects: ogp plugin new. A project builds offline,
// because the SDK is copied into it; Extism's PDK alone comes from the network.
package scaffold

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
)

//go:embed templates
var templates embed.FS

// Langs are the languages, the first one being the default.
var Langs = []string{"go", "rust", "assemblyscript", "c", "rego", "extism-go", "stdio-go"}

// Hooks are the hooks, the first one being the default.
var Hooks = []string{sdk.HookMessage, sdk.HookRequest, sdk.HookNotify, sdk.HookHandle}

// sources are where a language's main file goes.
var sources = map[string]string{
	"go": "main.go", "rust": "src/lib.rs", "assemblyscript": "assembly/index.ts", "c": "plugin.c",
	"rego": "policy.rego", "extism-go": "main.go", "stdio-go": "main.go",
}

// abis are the kinds of module of the languages that do not make ogp_v1's.
var abis = map[string]string{"rego": "opa", "extism-go": "extism", "stdio-go": "stdio"}

// about is what the README says of a language.
var about = map[string]string{
	"go":        "`go doc ./ogp/sdk` describes the SDK. ",
	"rego":      "`make` needs `opa` (go install github.com/open-policy-agent/opa@v1.22.4). ",
	"extism-go": "`make` fetches Extism's PDK once. ",
}

// goodName is narrower than plugin.toml, where a digit may come first (core.IsPluginName): the name is a Rust crate's, too.
var goodName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)

// Write makes dir with a new plugin project of a name, in one of Langs, for one of Hooks;
// empty ones mean the first, and the hook "policy" is "message". It refuses a dir that is there and not empty, and then leaves
// it as it was.
func Write(dir, name, lang, hook string) error {
	if lang == "" {
		lang = Langs[0]
	}
	if hook == "" || hook == "policy" {
		hook = Hooks[0]
	}
	switch {
	case !goodName.MatchString(name):
		return fmt.Errorf("scaffold: name %q: want lower case letters, digits and dashes, a letter first, at most 64", name)
	case !slices.Contains(Langs, lang):
		return fmt.Errorf("scaffold: language %q: want one of %s", lang, strings.Join(Langs, ", "))
	case !slices.Contains(Hooks, hook):
		return fmt.Errorf("scaffold: hook %q: want one of %s", hook, strings.Join(Hooks, ", "))
	case lang == "rego" && hook != sdk.HookMessage && hook != sdk.HookRequest:
		return fmt.Errorf("scaffold: hook %q in Rego: want message or request, as Rego decides and does nothing else", hook)
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("scaffold: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("scaffold: %s is not empty", dir)
	}
	files, err := project(name, lang, hook)
	if err != nil {
		return fmt.Errorf("scaffold: %w", err)
	}
	for to, text := range files {
		to = filepath.Join(dir, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return fmt.Errorf("scaffold: %w", err)
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return fmt.Errorf("scaffold: %w", err)
		}
	}
	return nil
}

// what a project is, by its hook.
var what = map[string]string{
	sdk.HookMessage: "A policy about messages: it is asked about every message of an approved peer, and allows, denies, holds or abstains.",
	sdk.HookRequest: "A policy about strangers: it is asked about every request to federate, and rejects it, leaves it to you or has no opinion. It can\n" +
		"approve strangers only with `approves = true` in plugin.toml, and your grant.",
	sdk.HookNotify: "A notifier: it is told of every event, and says whether it was delivered.",
	sdk.HookHandle: "A handler: it answers the messages of the intents that plugin.toml names.",
}

// powers are the parts of a plugin.toml that a project can use.
func powers(lang, hook string) string {
	var out strings.Builder
	if lang == "rego" {
		fmt.Fprintf(&out, "\n[entrypoints]\n%s = \"ogp/%s\"\n", hook, hook)
	}
	if lang == "stdio-go" { // a program has no operations and no configuration
		return ""
	}
	switch hook {
	case sdk.HookRequest:
		out.WriteString("\n# The power to approve strangers, with at most these grants. The operator is asked at installation.\n" +
			"# approves = true            # above [limits]\n# [at_most]\n# intents = [\"message\"]\n# rate = \"10/1h\"\n")
	case sdk.HookNotify, sdk.HookHandle:
		out.WriteString("\n# What it wants to reach. The operator is asked at installation.\n# [[http]]\n# url = \"https://example.org/hooks/\"\n" +
			"# secrets = [\"token\"]\n# reason = \"tell example.org\"\n")
	}
	if hook == sdk.HookMessage {
		out.WriteString("\n[config]\nmax_bytes = 4096 # of a message's text\n")
	}
	return out.String()
}

// project gives the files of a project by their paths.
func project(name, lang, hook string) (map[string][]byte, error) {
	abi := cmp.Or(abis[lang], "ogp_v1")
	intents := ""
	if hook == sdk.HookHandle {
		intents = "intents = [\"example.echo\"]\n"
	}
	fill := strings.NewReplacer("@NAME@", name, "@CRATE@", strings.ReplaceAll(name, "-", "_"), "@HOOK@", hook, "@ABI@", abi, "@INTENTS@", intents,
		"@WHAT@", what[hook], "@SDK@", about[lang], "@POWERS@", powers(lang, hook))
	files := map[string][]byte{}
	take := func(from, to string) error {
		text, err := templates.ReadFile("templates/" + from)
		files[to] = []byte(fill.Replace(string(text)))
		return err
	}
	err := errors.Join(
		take("common/plugin.toml", "plugin.toml"),
		take("common/README.md", "README.md"),
		take("common/case."+hook+".json", "cases/first.json"),
		take(lang+"/Makefile", "Makefile"),
		take(lang+"/"+hook+".txt", sources[lang]),
	)
	if err != nil {
		return nil, err
	}
	switch lang {
	case "go":
		files["go.mod"] = []byte("module " + name + "\n\ngo 1.24\n\nrequire github.com/opengatewayprotocol/ogp v0.0.0\n\n" +
			"// The SDK was copied into this project, so that it builds without a network.\n" +
			"replace github.com/opengatewayprotocol/ogp => ./ogp\n")
		files["ogp/go.mod"] = []byte("module github.com/opengatewayprotocol/ogp\n\ngo 1.24\n")
		err = errors.Join(take("go/main_test.txt", "main_test.go"), copyGo(files))
	case "rust":
		err = errors.Join(take("rust/Cargo.txt", "Cargo.toml"), copyRust(files))
	case "assemblyscript":
		err = errors.Join(take("assemblyscript/package.txt", "package.json"), copyOne(files, "assemblyscript/assembly/index.ts", "assembly/ogp.ts"))
	case "c":
		err = copyOne(files, "c/ogp.h", "ogp.h")
	case "extism-go":
		err = errors.Join(take("extism-go/go.mod.txt", "go.mod"), take("extism-go/go.sum.txt", "go.sum"))
	case "stdio-go":
		files["go.mod"] = []byte("module " + name + "\n\ngo 1.24\n")
	}
	return files, err
}

func copyOne(files map[string][]byte, from, to string) error {
	text, err := sdk.Source.ReadFile(from)
	files[to] = text
	return err
}

// copyRust copies the crate.
func copyRust(files map[string][]byte) error {
	return fs.WalkDir(sdk.Source, "rust", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return copyOne(files, name, "ogp"+strings.TrimPrefix(name, "rust"))
	})
}

// copyGo copies the Go packages of the SDK without their tests and without source.go, whose
// other languages a Go project does not have.
func copyGo(files map[string][]byte) error {
	if err := copyOne(files, "ABI.md", "ogp/sdk/ABI.md"); err != nil {
		return err
	}
	return fs.WalkDir(sdk.Source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || name == "source.go" {
			return err
		}
		return copyOne(files, name, "ogp/sdk/"+name)
	})
}
