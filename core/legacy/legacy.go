// Package legacy reads the state of a TypeScript gateway, so that an operator
// keeps identity and friends, and writes peers in that gateway's form.
//
// Reading opens files for reading alone: the source directory is never changed,
// and the old gateway can be started again. What a record leaves open is read in
// the way that gives it less power, and said in a warning.
//
// docs/migrating.md
package legacy

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// The files of a TypeScript gateway's state directory that are read here.
const (
	configFile  = "config.json"
	keypairFile = "keypair.json"
	peersFile   = "peers.json"
)

// maxFileBytes bounds each file; ten thousand peers take about 20 MB.
const maxFileBytes = 64 << 20

// Import is what a state directory held.
type Import struct {
	Dir      string
	Key      keys.Private // the zero Private where Read also returned an error
	Peers    []*core.Peer // one for each key, in the file's order
	Warnings []string     // what was left out or read with care, for the operator
}

func (i *Import) warnf(format string, args ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, args...))
}

// Read reads keypair.json and peers.json of a state directory of any era.
//
// A sealed key is opened with the given secrets (OGP_KEYPAIR_SECRET of the old
// environment, say), then with those that the directory's own config.json has:
// hermesWebhookSecret and openclawToken.
//
// It returns core.NotFound where dir holds neither file, and core.Malformed where
// peers.json as a whole cannot be read; single bad records become warnings. Where
// only the key cannot be had, the error is that of keys.ImportLegacy (or
// fs.ErrNotExist), and the Import beside it has the peers. No error or warning
// contains anything of a key or a secret.
func Read(dir string, secrets []string) (*Import, error) {
	imp := &Import{Dir: dir}
	pair, keyErr := readFile(filepath.Join(dir, keypairFile))
	list, peersErr := readFile(filepath.Join(dir, peersFile))
	switch {
	case errors.Is(keyErr, fs.ErrNotExist) && errors.Is(peersErr, fs.ErrNotExist):
		return nil, &core.Error{Kind: core.NotFound, Hint: notFoundHint(dir),
			Err: fmt.Errorf("legacy: %s has neither %s nor %s", dir, keypairFile, peersFile)}
	case errors.Is(peersErr, fs.ErrNotExist):
		imp.warnf("%s: not there, so no peers", peersFile)
	case peersErr != nil:
		return nil, peersErr
	}
	if keyErr == nil {
		imp.Key, keyErr = readKey(dir, pair, secrets)
	}
	if peersErr == nil {
		if err := imp.readPeers(list); err != nil {
			return nil, err
		}
	}
	imp.behind()
	return imp, keyErr
}

func readKey(dir string, pair []byte, secrets []string) (keys.Private, error) {
	p, err := keys.ImportLegacy(pair, append(slices.Clone(secrets), ownSecrets(dir)...))
	if errors.Is(err, core.Unsupported) && !bytes.Contains(pair, []byte("privateKeyCiphertext")) {
		return p, &core.Error{Kind: core.Unsupported, Hint: keychainHint(dir), Err: fmt.Errorf("legacy: %w", err)}
	}
	if err != nil {
		return p, fmt.Errorf("legacy: %w", err)
	}
	return p, nil
}

// keychainHint says how to get the key that a gateway on macOS keeps outside of
// the directory. The entry is named after the directory's path.
func keychainHint(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	name := md5.Sum([]byte(dir)) // the old gateway's way to make a name, nothing secret
	return fmt.Sprintf("the private key is in the macOS keychain: print it with\n"+
		"  security find-generic-password -s ogp-federation-%x -a private-key -w\n"+
		"(older ones: -s ogp-federation) and put it as privateKey into a copy of the directory's %s", name[:4], keypairFile)
}

// notFoundHint names the framework directories, if dir is the directory that
// lists them.
func notFoundHint(dir string) string {
	var names []string
	for _, f := range fromMeta(filepath.Join(dir, configFile), filepath.Dir(filepath.Clean(dir))) {
		names = append(names, f.Dir)
	}
	if len(names) == 0 {
		return "name the directory that the old gateway ran with: OGP_HOME, ~/.ogp, ~/.ogp-openclaw or ~/.ogp-hermes"
	}
	return "this directory lists others: import one of " + strings.Join(names, ", ")
}

func readFile(path string) ([]byte, error) {
	data, err := files.ReadText(path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("legacy: %w", err)
	}
	return data, nil
}

// ownSecrets gives what the old gateway sealed its key with if nothing else was
// set. A config.json that cannot be read has none; core/config reports on it.
func ownSecrets(dir string) []string {
	data, err := readFile(filepath.Join(dir, configFile))
	if err != nil {
		return nil
	}
	var c map[string]jsontext.Value
	if json.Unmarshal(data, &c) != nil {
		return nil
	}
	var secrets []string
	for _, name := range []string{"hermesWebhookSecret", "openclawToken"} {
		var s string
		if json.Unmarshal(c[name], &s) == nil && s != "" {
			secrets = append(secrets, s)
		}
	}
	return secrets
}

// Framework is one state directory of the TypeScript gateway on this machine.
type Framework struct {
	ID      string // "openclaw", "hermes"; empty for a plain ~/.ogp
	Name    string
	Dir     string
	Enabled bool // so says the list in ~/.ogp-meta; true for what is not in it
	Default bool
}

// usual are the directories that the TypeScript gateway makes by itself.
var usual = []Framework{
	{Dir: ".ogp", Enabled: true},
	{ID: "openclaw", Name: "OpenClaw", Dir: ".ogp-openclaw", Enabled: true},
	{ID: "hermes", Name: "Hermes", Dir: ".ogp-hermes", Enabled: true},
}

// Find lists the state directories below a home directory: those that
// ~/.ogp-meta/config.json names, then the usual ones, each once and only if it
// holds a key or peers. A list that cannot be read counts as none.
func Find(home string) []Framework {
	found := fromMeta(filepath.Join(home, ".ogp-meta", configFile), home)
	for _, f := range usual {
		f.Dir = filepath.Join(home, f.Dir)
		if !slices.ContainsFunc(found, func(g Framework) bool { return g.Dir == f.Dir }) {
			found = append(found, f)
		}
	}
	return slices.DeleteFunc(found, func(f Framework) bool { return !holdsState(f.Dir) })
}

func holdsState(dir string) bool {
	for _, name := range []string{keypairFile, peersFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}

// fromMeta reads the list of frameworks; a "~/" in it is home.
func fromMeta(path, home string) []Framework {
	data, err := readFile(path)
	if err != nil {
		return nil
	}
	var meta struct {
		Frameworks []struct {
			ID        string `json:"id"`
			Name      string `json:"name"`
			Enabled   bool   `json:"enabled"`
			ConfigDir string `json:"configDir"`
		} `json:"frameworks"`
		Default string `json:"default"`
	}
	if json.Unmarshal(data, &meta) != nil {
		return nil
	}
	var found []Framework
	for _, f := range meta.Frameworks {
		dir := f.ConfigDir
		if rest, ok := strings.CutPrefix(dir, "~/"); ok {
			dir = filepath.Join(home, rest)
		}
		if !filepath.IsAbs(dir) {
			continue
		}
		dir = filepath.Clean(dir)
		if !slices.ContainsFunc(found, func(g Framework) bool { return g.Dir == dir }) {
			found = append(found, Framework{f.ID, f.Name, dir, f.Enabled, f.ID != "" && f.ID == meta.Default})
		}
	}
	return found
}
