package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// Path is the configuration file of a state directory: the one in force, or the one
// to make. named is the file that the operator has named; empty: none.
func Path(named, dir string) string {
	if named != "" {
		return named
	}
	path := filepath.Join(dir, config.FileName)
	if _, err := os.Stat(path); err != nil {
		old := filepath.Join(dir, config.FormerName)
		if _, err := os.Stat(old); err == nil {
			return old
		}
	}
	return path
}

// MaxFile bounds a configuration file, in bytes.
const MaxFile = 1 << 20

// editing is held over each edit, so that two of this process lose nothing of each other.
var editing sync.Mutex

// Write changes the lines of these settings in a file, which is made where there is
// none. The new text is loaded before it takes the place of the old one; a mistake
// comes as config.Problems. checks are asked first, too, with a file that has the new
// text. env is as in config.Options.
func Write(env []string, dir, path string, changes []Setting, checks ...func(file string) error) error {
	editing.Lock()
	defer editing.Unlock()
	text, err := files.ReadText(path, MaxFile)
	made := errors.Is(err, os.ErrNotExist)
	if made {
		text, err = []byte(config.Example()), nil
	}
	if err != nil {
		return err
	}
	edit := editor(path)
	after := text
	for _, c := range changes {
		if after, err = edit(after, c); err != nil {
			e := core.Refusef(core.Malformed, "%s cannot be edited: %v", path, err)
			e.Hint = fmt.Sprintf("write it there yourself: %s = %s", c.Key, c.Literal())
			if c.Value == nil {
				e.Hint = "take " + c.Key + " out of it yourself"
			}
			return e
		}
	}
	same := !made && string(after) == string(text)
	if same && len(checks) == 0 {
		return nil
	}
	// What the file says already is checked, too: the world may have changed.
	if err := try(config.Options{Home: dir, Env: env}, path, after, checks); err != nil || same {
		return err
	}
	if err := atomicfile.Edit(path, after); err != nil {
		return notWritable(path, err)
	}
	return nil
}

func editor(path string) func([]byte, Setting) ([]byte, error) {
	if strings.EqualFold(filepath.Ext(path), ".json") {
		return JSON
	}
	return TOML
}

// Differing are the keys of settings that a file says otherwise, or not at all.
func Differing(path string, changes []Setting) (keys []string) {
	text, err := files.ReadText(path, MaxFile)
	for _, c := range changes {
		after, failed := editor(path)(text, c)
		if err != nil || failed != nil || string(after) != string(text) {
			keys = append(keys, c.Key)
		}
	}
	return keys
}

// Writable returns an error that names the file where it cannot be written or made, before
// anything else is done.
func Writable(path string) error {
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return nil // it is made with the file
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".try-")
	if err != nil {
		return notWritable(path, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// notWritable names the file that was to be written; err may name one that nobody knows.
func notWritable(path string, err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return core.Refusef(core.Forbidden, "%s cannot be written: %v", path, err).
		WithHint("look at the owner and the permissions of " + filepath.Dir(path) + ", or at whether its disk is full or read-only")
}

// try loads a text as if it were in the file's place.
func try(o config.Options, path string, text []byte, checks []func(file string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return notWritable(path, err)
	}
	probe := filepath.Join(filepath.Dir(path), ".try-"+filepath.Base(path))
	if err := os.WriteFile(probe, text, 0o600); err != nil {
		return notWritable(path, err)
	}
	defer os.Remove(probe)
	o.File = probe
	_, _, _, err := config.Load(o)
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for n := range problems { // the file is where it will be
			problems[n].Where = strings.Replace(problems[n].Where, probe, path, 1)
		}
		return problems
	}
	for _, check := range checks {
		if err == nil {
			err = check(probe)
		}
	}
	return err
}

// Has reports whether a file says this value already.
func Has(path string, s Setting) bool {
	text, err := files.ReadText(path, MaxFile)
	if err != nil {
		return false
	}
	after, err := TOML(text, s)
	return err == nil && string(after) == string(text)
}
