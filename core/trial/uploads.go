package trial

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
)

// The bounds of uploads.
const (
	mostUploads  = 4 // at once; the oldest goes for another one
	uploadLife   = time.Hour
	maxUpload    = 16 << 20  // of a module, in bytes, as the plugin room takes
	maxManifest  = 256 << 10 // of its plugin.toml
	mostCases    = 100
	maxCasesSize = 1 << 20 // of all cases together
)

// Uploads keeps modules that came over the control socket, each in a folder of its own with
// its plugin.toml and its cases, until they are installed, given up, or old. What a crash
// has left goes when it is opened. Safe for concurrent use.
type Uploads struct {
	dir string

	mu   sync.Mutex // guards list
	list []upload   // the oldest first
}

type upload struct {
	id     string // of its files: hooks.Files.Digest
	at     time.Time
	result Result
}

// Result is what came of trying an upload.
type Result struct {
	Failed error // it does not load, or a self-test fails
	Cases  TestView
}

// OpenUploads keeps uploads in a folder, which it empties. It is made with the first one.
func OpenUploads(dir string) (*Uploads, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("trial: %w", err)
	}
	return &Uploads{dir: dir}, nil
}

// Upload is what was uploaded.
type Upload struct {
	Module   []byte
	Manifest []byte            // the text of its plugin.toml; nil: there is none
	Cases    map[string][]byte // by the names of their files
}

// caseName is how the file of a case may be called.
var caseName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}\.json$`)

func (u Upload) check() error {
	size := 0
	for name, text := range u.Cases {
		if !caseName.MatchString(name) {
			return core.Refusef(core.Malformed, "a case is named %.120q", name).WithHint(
				"a case's file ends in .json, and its name has letters, digits, dots and dashes")
		}
		size += len(text)
	}
	switch {
	case len(u.Module) == 0:
		return core.Refuse(core.Malformed, "no module: choose a .wasm file")
	case len(u.Module) > maxUpload:
		return core.Refusef(core.TooLarge, "a module of %d bytes, at most %d", len(u.Module), maxUpload)
	case len(u.Manifest) > maxManifest:
		return core.Refusef(core.TooLarge, "a plugin.toml of %d bytes, at most %d", len(u.Manifest), maxManifest)
	case len(u.Cases) > mostCases || size > maxCasesSize:
		return core.Refusef(core.TooLarge, "%d cases of %d bytes, at most %d of %d bytes together", len(u.Cases), size, mostCases, maxCasesSize)
	}
	return nil
}

// Put keeps an upload and gives its id: of the same files it is the same. Errors are of kind
// Malformed, TooLarge, or of the disk.
func (s *Uploads) Put(u Upload) (id string, err error) {
	if err := u.check(); err != nil {
		return "", err
	}
	id = (&hooks.Files{Wasm: u.Module, Manifest: u.Manifest}).Digest()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(time.Now())
	s.drop(id)
	for len(s.list) >= mostUploads {
		s.drop(s.list[0].id)
	}
	dir := s.path(id)
	files := map[string][]byte{"module.wasm": u.Module}
	if u.Manifest != nil {
		files["plugin.toml"] = u.Manifest
	}
	for name, text := range u.Cases {
		files[filepath.Join(casesDir, name)] = text
	}
	err = os.MkdirAll(filepath.Join(dir, casesDir), 0o700)
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("trial: %w", err), os.RemoveAll(dir))
	}
	s.list = append(s.list, upload{id: id, at: time.Now()})
	return id, nil
}

// casesDir is where the cases of a plugin lie, beside its module.
const casesDir = "cases"

// Get gives the folder of an upload, and what was noted of it. The error is of kind NotFound.
func (s *Uploads) Get(id string) (dir string, r Result, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(time.Now())
	for _, u := range s.list {
		if u.id == id {
			return s.path(id), u.result, nil
		}
	}
	return "", r, core.Refuse(core.NotFound, "the upload is gone: it was installed, others came after it, or an hour has passed").WithHint(
		"upload it again")
}

// Note keeps what came of trying an upload, if it is still there.
func (s *Uploads) Note(id string, r Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.list {
		if s.list[i].id == id {
			s.list[i].result = r
		}
	}
}

// Drop removes an upload, if it is there.
func (s *Uploads) Drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id)
}

// Prune removes those that are old.
func (s *Uploads) Prune(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prune(now)
}

// Close removes all.
func (s *Uploads) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	return os.RemoveAll(s.dir)
}

func (s *Uploads) path(id string) string { return filepath.Join(s.dir, id[:32]) }

// prune is called with mu held, as drop is.
func (s *Uploads) prune(now time.Time) {
	for len(s.list) > 0 && now.Sub(s.list[0].at) > uploadLife {
		s.drop(s.list[0].id)
	}
}

func (s *Uploads) drop(id string) {
	i := slices.IndexFunc(s.list, func(u upload) bool { return u.id == id })
	if i < 0 {
		return
	}
	s.list = slices.Delete(s.list, i, i+1)
	os.RemoveAll(s.path(id)) // what stays goes with the next start
}
