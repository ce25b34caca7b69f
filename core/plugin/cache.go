package plugin

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
)

const (
	// sumFile is beside wazero's file in an entry: the SHA-256 of the file, two spaces, its name.
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

// place is the directory of a module's entry.
func (c *cache) place(wasm []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", machine)
	h.Write(wasm)
	return filepath.Join(c.dir, hex.EncodeToString(h.Sum(nil)))
}

// find gives the entry of a module, or nil. A damaged one is removed, and the error says what was wrong with it;
// but see isScarce.
func (c *cache) find(wasm []byte) (*entry, error) {
	dir := c.place(wasm)
	if _, err := os.Lstat(dir); err != nil {
		return nil, nil // a directory that cannot be read is told of when its entry is to be kept
	}
	sum, name, err := only(dir)
	if err == nil {
		var want []byte
		if want, err = os.ReadFile(filepath.Join(dir, sumFile)); err == nil && string(want) != sumLine(sum, name) {
			err = errors.New("its SHA-256 is another than when it was made")
		}
	}
	switch {
	case isScarce(err):
		return nil, err
	case err != nil:
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // it is in use: see prune
	return &entry{dir: dir, kept: true}, nil
}

func sumLine(sum, name string) string { return sum + "  " + name + "\n" }

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
		case d.IsDir() && strings.Count(filepath.ToSlash(rel), "/") == 0, rel == sumFile:
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

// seal checks what a child has left in its directory and writes the sum beside it.
func seal(dir string) error {
	sum, name, err := only(dir)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, sumFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(sumLine(sum, name)); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// keep moves a sealed directory to its place. The entry can be used in any case.
func (c *cache) keep(dir string, wasm []byte) (*entry, error) {
	place := c.place(wasm)
	err := os.Rename(dir, place)
	if err == nil {
		return &entry{dir: place, kept: true}, nil
	}
	if _, there := os.Lstat(place); there == nil { // another process was quicker
		if e, damage := c.find(wasm); e != nil && damage == nil {
			return e, os.RemoveAll(dir)
		}
		if err = os.Rename(dir, place); err == nil {
			return &entry{dir: place, kept: true}, nil
		}
	}
	return &entry{dir: dir}, err
}
