package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

const (
	// outlineFile is beside wazero's file in an entry: the module without its bodies, of the same imports and exports.
	outlineFile = "outline.wasm"
	// sumFile is beside both: the name of the entry, then the SHA-256 of each, two spaces, its name.
	sumFile = "sum"
	// maxEntry is the largest file of machine code. A program of 16 MiB comes to some 150 MB.
	maxEntry = 512 << 20
	// privatePrefix begins the name of a directory that a child compiles into.
	privatePrefix = "compile-"
	// unusedFor is how long an entry is kept that nobody has read.
	unusedFor = 60 * 24 * time.Hour
)

// cache keeps compiled modules, each in a directory named after all that its machine code depends on. Several
// processes may use one. docs/threat-model.md#d3
type cache struct{ dir string }

// openCache makes the directory with mode 0700 and refuses one that others may enter: it holds machine code.
func openCache(dir string) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("plugin: cache: %w", err)
	}
	st, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("plugin: cache: %w", err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("plugin: cache: %s has mode %#o, want 0700: it holds machine code (chmod 700 it)", dir, st.Mode().Perm())
	}
	c := &cache{dir}
	c.prune()
	return c, nil
}

// prune removes what is left of children that were ended, entries that nobody has read for long, and those of
// versions that kept no sums.
func (c *cache) prune() {
	entries, _ := os.ReadDir(c.dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		age := time.Since(info.ModTime())
		if strings.HasPrefix(e.Name(), privatePrefix) && age > time.Hour || strings.HasPrefix(e.Name(), "wazero-") || age > unusedFor {
			_ = os.RemoveAll(filepath.Join(c.dir, e.Name()))
		}
	}
}

// machine names what machine code depends on beside the module: the compiler's version, the system and the
// processor's features.
var machine = func() string {
	version := "unknown"
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "github.com/tetratelabs/wazero" {
				version = d.Version + d.Sum
			}
		}
	}
	return fmt.Sprintf("%s %s/%s %v %v", version, runtime.GOOS, runtime.GOARCH, cpu.X86, cpu.ARM64)
}()

// named is the name of a module's entry. The key tells the module and all that is made of it before it is compiled.
func named(key string) string {
	sum := sha256.Sum256([]byte(machine + "\n" + meter.Version + "\n" + key))
	return hex.EncodeToString(sum[:])
}

func (c *cache) place(key string) string { return filepath.Join(c.dir, named(key)) }

// find gives the entry of a module, or nil. A damaged one is removed, and the error says what was wrong with it;
// but see Scarce.
func (c *cache) find(key string) (*Entry, error) {
	dir := c.place(key)
	if _, err := os.Lstat(dir); err != nil {
		return nil, nil // a directory that cannot be read is told of when its entry is to be kept
	}
	sum, name, err := only(dir)
	var outline, want []byte
	if err == nil {
		outline, err = files.ReadBounded(filepath.Join(dir, outlineFile), maxMetered)
	}
	if err == nil {
		if want, err = os.ReadFile(filepath.Join(dir, sumFile)); err == nil && string(want) != sums(key, sum, name, outline) {
			err = errors.New("its SHA-256 has changed since it was made")
		}
	}
	switch {
	case Scarce(err):
		return nil, err
	case err != nil:
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // it is in use: see prune
	return &Entry{Dir: dir, outline: outline, kept: true}, nil
}

// sums is what the file of sums says.
func sums(key, sum, name string, outline []byte) string {
	return fmt.Sprintf("%s\n%s  %s\n%x  %s\n", named(key), sum, name, sha256.Sum256(outline), outlineFile)
}

// only gives the SHA-256 and the name of the one file that wazero has written to a directory, and an error where
// there is anything else.
func only(dir string) (sum, name string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.Count(filepath.ToSlash(rel), "/") == 0, rel == sumFile, rel == outlineFile:
			return nil
		case !d.Type().IsRegular(), name != "":
			return fmt.Errorf("%s: not what a compiler leaves", path)
		}
		name = filepath.ToSlash(rel)
		sum, err = sumOf(path)
		return err
	})
	if err == nil && name == "" {
		err = errors.New("there is no machine code")
	}
	return sum, name, err
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, maxEntry+1))
	if err == nil && n > maxEntry {
		err = fmt.Errorf("machine code of more than %d MiB", maxEntry>>20)
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// seal checks what a child has left in its directory and writes the outline and the sums beside it.
func seal(dir, key string, outline []byte) error {
	sum, name, err := only(dir)
	if err != nil {
		return err
	}
	for file, text := range map[string][]byte{outlineFile: outline, sumFile: []byte(sums(key, sum, name, outline))} {
		f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if _, err = f.Write(text); err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// keep moves a sealed directory to its place. The entry can be used in any case.
func (c *cache) keep(dir, key string, outline []byte) (*Entry, error) {
	place := c.place(key)
	err := os.Rename(dir, place)
	if err == nil {
		return &Entry{place, outline, true}, nil
	}
	if _, there := os.Lstat(place); there == nil { // another process was quicker
		if e, damage := c.find(key); e != nil && damage == nil {
			return e, os.RemoveAll(dir)
		}
		if err = os.Rename(dir, place); err == nil {
			return &Entry{place, outline, true}, nil
		}
	}
	return &Entry{Dir: dir, outline: outline}, err
}
