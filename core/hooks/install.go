package hooks

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Files are a plugin's files, read once: what was looked at is what is installed.
type Files struct {
	Path     string // of the module
	Wasm     []byte
	Manifest []byte // the text of its plugin.toml; nil: there is none
}

// maxFile bounds what is read of a file; the plugin room has its own bounds for
// what it takes.
const maxFile = 32 << 20

// ReadFiles reads a plugin from its module, or from its folder: the module there
// is the one named as the plugin, or the only one. Errors have a hint.
func ReadFiles(path string) (*Files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, notThere(path, err)
	}
	if info.IsDir() {
		if path, err = moduleIn(path); err != nil {
			return nil, err
		}
	}
	f := &Files{Path: path}
	if f.Wasm, err = files.ReadBounded(path, maxFile); err != nil {
		return nil, err
	}
	if len(f.Wasm) > maxFile {
		return nil, core.Refusef(core.TooLarge, "%s has more than %d MiB", path, maxFile>>20)
	}
	f.Manifest, err = files.ReadText(filepath.Join(filepath.Dir(path), manifestFile), maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return f, nil
}

func notThere(path string, err error) error {
	e := &core.Error{Kind: core.NotFound, Public: fmt.Sprintf("no plugin at %s", path), Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		e.Err = nil
	}
	e.Hint = "name a .wasm file, or the folder that holds one"
	return e
}

// moduleIn finds the module of a folder.
func moduleIn(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(escape(dir), "*.wasm"))
	if err != nil {
		return "", err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if text, err := files.ReadText(filepath.Join(dir, manifestFile), maxFile); err == nil {
		m, err := plugin.ParseManifest(text)
		if err != nil {
			return "", err
		}
		named := filepath.Join(dir, m.Name+".wasm")
		if _, err := os.Stat(named); err == nil {
			return named, nil
		}
	}
	e := core.Refusef(core.NotFound, "%s holds no module", dir)
	e.Hint = "is it built? \"make\" makes the .wasm in a project of \"ogp plugin new\""
	if len(found) > 1 {
		e = core.Refusef(core.Ambiguous, "%s holds several modules", dir)
		e.Candidates, e.Hint = found, "name the one that is meant"
	}
	return "", e
}

// escape makes a path stand for itself in a pattern.
func escape(path string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(path)
}

// Spec is what the plugin room reads of the files.
func (f *Files) Spec() (plugin.Spec, error) {
	spec := plugin.Spec{Path: f.Path, Bytes: f.Wasm}
	if f.Manifest != nil {
		m, err := plugin.ParseManifest(f.Manifest)
		if err != nil {
			return spec, fmt.Errorf("%s: %w", filepath.Join(filepath.Dir(f.Path), manifestFile), err)
		}
		spec.Manifest = m
	}
	return spec, nil
}

// Digest is of all files: hex of their SHA-256.
func (f *Files) Digest() string {
	module, manifest := sha256.Sum256(f.Wasm), sha256.Sum256(f.Manifest)
	both := sha256.Sum256(append(module[:], manifest[:]...))
	return hex.EncodeToString(both[:])
}

// pluginsDir is where installed plugins are, in the state directory.
const pluginsDir = "plugins"

// Place copies the files into the state directory, beside other versions of the
// plugin, and returns the module's path there. What is in force is not touched, so
// that a crash before the record is made leaves everything as it was.
func (f *Files) Place(stateDir, name string) (string, error) {
	dir := filepath.Join(stateDir, pluginsDir, name, f.Digest()[:16])
	path := filepath.Join(dir, name+".wasm")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = atomicfile.WriteFile(path, f.Wasm)
	}
	if err == nil && f.Manifest != nil {
		err = atomicfile.WriteFile(filepath.Join(dir, manifestFile), f.Manifest)
	}
	if err != nil {
		return "", fmt.Errorf("hooks: %w", err)
	}
	return path, nil
}

// Sweep removes a plugin's files from the state directory, but the version that
// holds keep; an empty keep removes all of them.
func Sweep(stateDir, name, keep string) error {
	dir := filepath.Join(stateDir, pluginsDir, name)
	if keep == "" {
		return os.RemoveAll(dir)
	}
	versions, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if path := filepath.Join(dir, v.Name()); path != filepath.Dir(keep) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Difference is how a plugin that is to be installed differs from what is granted
// now.
type Difference struct {
	New      bool     `json:"new"`                // nothing of this name is installed
	Module   bool     `json:"module"`             // another module
	Wider    []string `json:"wider,omitempty"`    // asked, and not granted now
	Narrower []string `json:"narrower,omitempty"` // granted now, and not asked any more
}

// Differ compares an ask with what is installed under the name; nil is nothing.
func Differ(m *plugin.Module, now *Installed) Difference {
	asks := m.Manifest.Asks()
	if now == nil {
		return Difference{New: true, Module: true, Wider: plugin.Grants{}.Missing(asks)}
	}
	return Difference{Module: now.SHA256 != m.SHA256, Wider: now.Grants.Missing(asks), Narrower: asks.Missing(now.Grants)}
}

// Asks reports whether the operator must be asked: the plugin wants power, and it
// is another module or wants more than it was granted.
func (d Difference) Asks(a plugin.Grants) bool {
	return (len(a.HTTP)+len(a.KV) > 0 || a.Approves || a.Replies) && (d.Module || len(d.Wider) > 0)
}
