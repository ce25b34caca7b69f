package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/term"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// Path is the configuration file of a state directory: the one in force, or the one
// to make.
func Path(a *cli.App, dir string) string {
	if a.File != "" {
		return a.File
	}
	path := filepath.Join(dir, daemon.ConfigFile)
	if _, err := os.Stat(path); err != nil {
		old := filepath.Join(dir, daemon.LegacyConfig)
		if _, err := os.Stat(old); err == nil {
			return old
		}
	}
	return path
}

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// Write changes the lines of these settings in a file, which is made where there is
// none. The new text is loaded before it takes the place of the old one; a mistake
// comes as config.Problems. checks are asked first, too, with a file that has the new
// text.
func Write(a *cli.App, dir, path string, changes []Setting, checks ...func(file string) error) error {
	text, err := files.ReadText(path, maxFile)
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
	if err := try(a, dir, path, after, checks); err != nil || same {
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
	text, err := files.ReadText(path, maxFile)
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
	e := core.Refusef(core.Forbidden, "%s cannot be written: %v", path, err)
	e.Hint = "look at the owner and the permissions of " + filepath.Dir(path) + ", or at whether its disk is full or read-only"
	return e
}

// try loads a text as if it were in the file's place.
func try(a *cli.App, dir, path string, text []byte, checks []func(file string) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return notWritable(path, err)
	}
	probe := filepath.Join(filepath.Dir(path), ".try-"+filepath.Base(path))
	if err := os.WriteFile(probe, text, 0o600); err != nil {
		return notWritable(path, err)
	}
	defer os.Remove(probe)
	_, _, _, err := config.Load(config.Options{Home: dir, File: probe, Env: a.Env})
	var problems config.Problems
	if errors.As(err, &problems) {
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

// Kept is what became of settings that were given as flags.
type Kept struct {
	File    string
	Saved   []string // keys that the file lacked, and has now
	Differs []string // keys for which the file has another value, which the flags override
	Lasting []string // commands that keep what was not saved
}

// forOneRun are settings that a flag is for one run only.
func forOneRun(g config.Given) bool {
	return g.Key == "daemon_port" && g.Text == "0" || strings.HasPrefix(g.Key, "log.")
}

// Keep saves the settings that flags have set and the file lacks. With save false
// it only says what it would do. What the environment sets is left alone, and so
// are ports that are picked anew each time and what the log is to show.
func Keep(a *cli.App, dir string, flags *pflag.FlagSet, save bool) (Kept, error) {
	k := Kept{File: Path(a, dir)}
	given := config.GivenFlags(flags)
	if len(given) == 0 {
		return k, nil
	}
	_, origins, _, err := config.Load(config.Options{Home: dir, File: a.File, Env: a.Env})
	if err != nil {
		return k, err
	}
	var changes []Setting
	for _, g := range given {
		s, err := Parse(g.Key, g.Text)
		if err != nil {
			return k, err
		}
		switch origins.Of(g.Key).Layer {
		case config.LayerFile:
			if !same(a, dir, s) {
				k.Differs = append(k.Differs, g.Key)
			}
		case config.LayerDefault:
			if forOneRun(g) {
				continue
			}
			changes = append(changes, s)
			k.Saved = append(k.Saved, g.Key)
			k.Lasting = append(k.Lasting, a.Command("config", "set", g.Key, g.Text))
		}
	}
	if !save || len(changes) == 0 {
		return k, nil
	}
	if err := Write(a, dir, k.File, changes); err != nil {
		k.Saved = nil
		return k, err
	}
	k.Lasting = nil
	return k, nil
}

// same reports whether the file has this value already.
func same(a *cli.App, dir string, s Setting) bool {
	text, err := files.ReadText(Path(a, dir), maxFile)
	if err != nil {
		return false
	}
	after, err := TOML(text, s)
	return err == nil && string(after) == string(text)
}

// Tell says what became of flags, on standard error. err is why they were not saved.
// With wanted, that they are not is what the user asked for.
func Tell(a *cli.App, k Kept, err error, wanted bool) {
	if err != nil {
		fmt.Fprintf(a.Err, "warning: the flags are not saved, and last for this run: %s\n", term.SafeLine(api.ErrorOf(err).Message))
	}
	if len(k.Saved) > 0 && len(k.Lasting) == 0 {
		fmt.Fprintf(a.Err, "Saved %s in %s\n", strings.Join(k.Saved, ", "), k.File)
	}
	if len(k.Differs) > 0 {
		fmt.Fprintf(a.Err, "note: %s: the flag counts for this run, and %s says otherwise\n", strings.Join(k.Differs, ", "), k.File)
	}
	if len(k.Lasting) > 0 && err == nil && !wanted {
		fmt.Fprintf(a.Err, "The flags last for this run. To keep them: %s\n", strings.Join(k.Lasting, "; "))
	}
}
