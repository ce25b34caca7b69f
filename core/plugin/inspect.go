package plugin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/nesting"
	"github.com/opengatewayprotocol/ogp/core/plugin/compile"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// Module is a module that was read and not loaded.
type Module struct {
	// Manifest is the one given, found beside the module, or found inside; else one that asks for nothing and
	// has every hook that the module exports.
	Manifest *Manifest
	Kind     ModuleKind
	SHA256   string // in lower case hex
	Size     int    // in bytes
	Imports  []string
	wasm     []byte
	kind     *kind
}

// Inspect reads a plugin without running or compiling any of it. It checks the pin.
func Inspect(spec Spec) (*Module, error) {
	m, err := inspect(spec)
	if err != nil {
		return nil, err
	}
	m.wasm = nil // whoever keeps a Module needs no megabytes
	return m, nil
}

// inspect is Inspect with the module's bytes.
func inspect(spec Spec) (*Module, error) {
	wasm := spec.Bytes
	if wasm == nil {
		var err error
		if wasm, err = files.ReadBounded(spec.Path, compile.MaxModule); err != nil {
			return nil, &Error{Plugin: spec.Name, Kind: readKind(err, BadModule), Err: err}
		}
	}
	if len(wasm) > compile.MaxModule {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Text: fmt.Sprintf("a module of %d bytes, at most %d", len(wasm), compile.MaxModule), Err: Limit}
	}
	sum := sha256.Sum256(wasm)
	m := &Module{SHA256: hex.EncodeToString(sum[:]), Size: len(wasm), wasm: wasm}
	if spec.SHA256 != "" && !strings.EqualFold(spec.SHA256, m.SHA256) {
		return nil, &Error{Plugin: spec.Name, Kind: Denied, Text: fmt.Sprintf("the module's SHA-256 is %s, pinned is %s", m.SHA256, strings.ToLower(spec.SHA256))}
	}
	if err := looksLikeModule(wasm); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
	}
	shape, err := meter.Read(wasm)
	if err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
	}
	m.Imports = shape.Imports
	if m.Manifest, err = findManifest(spec, shape); err != nil {
		return nil, err
	}
	if m.kind, err = kindOf(shape, m.Manifest); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadModule, Err: err}
	}
	m.Kind = m.kind.name
	if len(m.Manifest.Entrypoints) > 0 && !m.kind.entrypoints {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: fmt.Sprintf("[entrypoints] is for Rego modules, and this one is of the kind %s", m.Kind)}
	}
	if len(m.Manifest.Hooks) == 0 {
		m.Manifest.Hooks = m.kind.hooks(shape)
	}
	if m.Manifest.Approves && !m.Manifest.hasHook(Request) {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: "approves = true, but it does not answer the hook \"request\""}
	}
	if m.Manifest.Replies && !m.Manifest.hasHook(Notify) {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: "replies = true, but it does not answer the hook \"notify\""}
	}
	if len(m.Manifest.Hooks) == 0 {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: "it answers no hook: name its hooks in the manifest, or export one of " + strings.Join(exportNames(), ", ")}
	}
	if err := m.Manifest.checkPart(); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Err: err}
	}
	return m, nil
}

// readKind is the kind of a failure to read a file, which may pass.
func readKind(err error, otherwise core.Kind) core.Kind {
	if compile.Scarce(err) {
		return core.Unavailable
	}
	return otherwise
}

// manifestSection is the custom section that can hold the manifest.
const manifestSection = "ogp.plugin"

func findManifest(spec Spec, shape *meter.Shape) (*Manifest, error) {
	if spec.Manifest != nil {
		m := *spec.Manifest
		if m.Name == "" {
			m.Name = spec.Name
		}
		if err := m.check(); err != nil {
			return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: err.Error()}
		}
		return &m, nil
	}
	if spec.Bytes == nil {
		text, err := files.ReadText(filepath.Join(filepath.Dir(spec.Path), "plugin.toml"), nesting.MaxBytes)
		if err == nil {
			return ParseManifest(text)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, &Error{Plugin: spec.Name, Kind: readKind(err, BadManifest), Err: err}
		}
	}
	if text, ok := shape.Custom[manifestSection]; ok {
		return ParseManifest(text)
	}
	m := &Manifest{Name: spec.Name}
	if m.Name == "" {
		m.Name = strings.TrimSuffix(filepath.Base(spec.Path), ".wasm")
	}
	if err := m.check(); err != nil {
		return nil, &Error{Plugin: spec.Name, Kind: BadManifest, Text: err.Error()}
	}
	return m, nil
}

// regoSource is how a policy in Rego begins, after its comments.
var regoSource = regexp.MustCompile(`^(\s*(#[^\n]*)?\n)*\s*package [a-z]`)

// looksLikeModule tells somebody who has something else what it is, and what to do.
func looksLikeModule(wasm []byte) error {
	const magic = "\x00asm"
	switch {
	case bytes.HasPrefix(wasm, []byte(magic)):
		return nil
	case len(wasm) == 0:
		return errors.New("an empty file, not a WebAssembly module")
	case bytes.HasPrefix(wasm, []byte("\x1f\x8b")):
		return errors.New("a compressed archive, not a WebAssembly module: if \"opa build\" made it, take the module out of it (tar -xzf bundle.tar.gz /policy.wasm)")
	case regoSource.Match(wasm) && utf8.Valid(wasm):
		return errors.New("a Rego policy in its source, not a WebAssembly module: build it (opa build -t wasm -e ogp/message policy.rego; tar -xzf bundle.tar.gz /policy.wasm)")
	case utf8.Valid(wasm) && !bytes.ContainsRune(wasm, 0):
		line, _, _ := bytes.Cut(wasm, []byte("\n"))
		return core.Refusef(core.Malformed, "a text, not a WebAssembly module: it begins with %s. A script can follow the events as lines of JSON, without being a plugin", inQuotes(line)).WithHint(
			"\"ogp events -f --json\" prints them")
	}
	return fmt.Errorf("not a WebAssembly module: it begins with the bytes % x, not % x", wasm[:min(4, len(wasm))], magic)
}
