// Package compile turns a plugin's module into machine code, and keeps what came of it. A child of this program
// compiles, because nothing can interrupt wazero's compiler or bound its memory, and a child can be ended. This process
// reads what the child has left, and compiles nothing itself. docs/threat-model.md#d3
package compile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tetratelabs/wazero"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

const (
	// MaxModule is the largest module, in bytes: Go with net/http makes 10 MB, and 16 MiB compile in some 10 s.
	MaxModule = 16 << 20
	// maxMetered is the largest module that goes to a child: metering adds a quarter to most.
	maxMetered = 4 * MaxModule
	// childMemory is what a child may use: the largest program that is let through uses a third (docs/performance.md).
	childMemoryBytes = 1 << 30
	// childTime is when a child is ended. The model refuses what takes more than some 7 s of a quiet core.
	childTime = 3 * time.Minute
	// niceness lets the gateway come first, and a child still come on where every core is taken.
	niceness = 5
	// patience is how long a child keeps others waiting for its place.
	patience = 3 * time.Second
	// compileHere is the work, in the model's units of 25 ns, up to which a program that cannot be started as a
	// child compiles by itself: the tests of other rooms.
	compileHere = 40_000_000
)

// Compiler has modules compiled by children of this program and keeps what they made.
// Safe for concurrent use.
type Compiler struct {
	cache  *cache // nil: nothing is kept
	log    *slog.Logger
	places chan struct{} // one for each child that runs and has not used up its patience

	// Fields for tests.
	memory    uint64
	time      time.Duration
	patience  time.Duration
	elsewhere []string // where modules are handed over that cannot be kept
}

// New makes a compiler that keeps what it made in a directory, which it makes with mode 0700 and refuses where others
// may enter. Without a directory nothing is kept.
func New(dir string, log *slog.Logger) (*Compiler, error) {
	c := &Compiler{log: log, places: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), memory: childMemoryBytes,
		time: childTime, patience: patience, elsewhere: []string{os.TempDir()}}
	if runtime.GOOS == "linux" {
		c.elsewhere = append(c.elsewhere, "/dev/shm")
	}
	if dir != "" {
		var err error
		if c.cache, err = openCache(dir); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Entry is a compiled module: a directory that holds wazero's file, the module's outline, which names it, and sums.
type Entry struct {
	Dir     string
	outline []byte
	kept    bool // in the cache; otherwise it goes when it was read
}

// Code is a compiled module in a runtime of its own, until it is closed.
type Code struct {
	Runtime wazero.Runtime
	cache   wazero.CompilationCache
	Module  wazero.CompiledModule
}

// Open reads the compiled module into a runtime whose guests have at most so many pages of memory. The error is
// context.Canceled when the entry is not the module's: nothing is compiled.
func (e *Entry) Open(pages uint32) (c Code, err error) {
	if c.cache, err = wazero.NewCompilationCacheWithDir(e.Dir); err != nil {
		return Code{}, err
	}
	c.Runtime = wazero.NewRuntimeWithConfig(context.Background(), runtimeConfig(c.cache, pages))
	if c.Module, err = c.Runtime.CompileModule(found, e.outline); err != nil {
		c.Close()
		return Code{}, err
	}
	return c, nil
}

// Close frees the runtime with everything in it.
func (c Code) Close() {
	c.Runtime.Close(context.Background())
	c.cache.Close(context.Background())
}

// Release removes what was handed over and is not kept.
func (e *Entry) Release() {
	if !e.kept {
		_ = os.RemoveAll(e.Dir)
	}
}

// Get gives the entry for a module, from the cache or a child, for which alone it is rewritten. Errors are of kind
// core.Unavailable where another try may find what this one lacked: space, descriptors, memory for a process.
func (c *Compiler) Get(ctx context.Context, name, key string, rewrite func() (*meter.Metered, error)) (*Entry, error) {
	if c.cache != nil {
		switch e, err := c.cache.find(key); {
		case Scarce(err):
			return nil, passing(err)
		case err != nil:
			c.log.Warn("a compiled module was damaged and is compiled again", "plugin", name, "err", err)
		case e != nil:
			return e, nil
		}
	}
	m, err := rewrite()
	if err != nil {
		return nil, err
	}
	if err := valid(m.Wasm); err != nil {
		return nil, err
	}
	leave, err := c.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return c.compile(ctx, name, key, m)
}

// turn waits for a place. Whoever stays longer than patience gives his up, so that no load waits longer than that
// for another's.
func (c *Compiler) turn(ctx context.Context) (leave func(), err error) {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	gone := sync.OnceFunc(func() { <-c.places })
	t := time.AfterFunc(c.patience, gone)
	return func() { t.Stop(); gone() }, nil
}

// compile has the module compiled in the first place that takes it: the cache's own directory, so that the entry
// can be moved into its place, or where else there is space.
func (c *Compiler) compile(ctx context.Context, name, key string, m *meter.Metered) (*Entry, error) {
	places := c.elsewhere
	if c.cache != nil {
		places = append([]string{c.cache.dir}, places...)
	}
	outline := meter.Outline(m.Wasm)
	var errs []error
	for i, place := range places {
		dir, err := os.MkdirTemp(place, privatePrefix)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = c.child(ctx, dir, m)
		if err == nil {
			err = seal(dir, key, outline)
		}
		if err == nil && c.cache != nil && i == 0 {
			e, err := c.cache.keep(dir, key, outline)
			if err != nil {
				c.log.Warn("a compiled module is not kept", "plugin", name, "err", err)
			}
			return e, nil
		}
		if err == nil {
			if c.cache != nil {
				c.log.Warn("a compiled module is not kept", "plugin", name, "err", errors.Join(errs...))
			}
			return &Entry{Dir: dir, outline: outline}, nil
		}
		_ = os.RemoveAll(dir)
		if !isFiles(err) {
			return nil, err
		}
		errs = append(errs, err)
	}
	return nil, &core.Error{Kind: core.Unavailable, Public: "a compiled module cannot be written", Err: errors.Join(errs...)}
}

// Passes reports whether an error of this room says nothing about the module: the files could not be written or read,
// and another try may go well.
func Passes(err error) bool { return isFiles(err) || Scarce(err) }

// Scarce reports whether an error is for want of descriptors or memory, and says nothing about what was to be read.
func Scarce(err error) bool {
	return files.Short(err) || errors.Is(err, syscall.ENOMEM)
}

func isFiles(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file)
}

// child runs this program once more to compile the module into dir. A *fs.PathError says that the files could not
// be written.
func (c *Compiler) child(ctx context.Context, dir string, m *meter.Metered) error {
	if !mayCompile.Load() {
		return here(dir, m)
	}
	program, err := self()
	if err != nil {
		return passing(err)
	}
	order, err := json.Marshal(childOrder{dir, buildID(), c.memory, int(c.time/time.Second) + 10})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.time)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(limited, program)
	cmd.Args[0] = "ogp-compile"
	cmd.Dir = dir
	cmd.Env = []string{childVariable + "=" + string(order), "GOMAXPROCS=2"}
	for _, name := range []string{"SYSTEMROOT", "TMP", "TEMP"} { // Windows starts nothing without the first
		if v := os.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(m.Wasm), &stdout, &stderr
	cmd.WaitDelay = time.Second
	err = runBound(cmd, c.memory)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case limited.Err() != nil:
		return &core.Error{Kind: guest.Limit, Public: fmt.Sprintf("not compiled within %v", c.time)}
	case err != nil:
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return passing(err) // it did not start
		}
		// Ended from outside: the system had no memory left, say.
		return passing(fmt.Errorf("the compiling process: %w%s", err, said(stderr.Bytes())))
	}
	var a childAnswer
	if err := json.Unmarshal(stdout.Bytes(), &a); err != nil {
		return passing(fmt.Errorf("the compiling process gave no answer%s", said(stderr.Bytes())))
	}
	switch a.Outcome {
	case childDone:
		return nil
	case childFiles:
		return &fs.PathError{Op: "compile", Path: dir, Err: errors.New(a.Text)}
	case childMemory:
		return &core.Error{Kind: guest.Limit, Public: "compiling it takes " + a.Text}
	case childOther:
		return passing(errors.New("the program was replaced since it was started: restart it"))
	}
	return errors.New(strings.TrimPrefix(a.Text, "wasm: "))
}

// passing is a failure that another try may not meet.
func passing(err error) error {
	return &core.Error{Kind: core.Unavailable, Public: "cannot compile now", RetryAfter: 10 * time.Second, Err: err}
}

// here compiles a small module in this process, for programs that cannot be started as a child.
func here(dir string, m *meter.Metered) error {
	if m.Work > compileHere {
		return errors.New("too large to compile in this process: the program's main must begin with plugin.CompileChildMain()")
	}
	return compileEntry(dir, m.Wasm)
}

// compileEntry leaves the machine code of a module in a directory, under the name that wazero gives the machine code
// of its outline.
func compileEntry(dir string, wasm []byte) error {
	full := filepath.Join(dir, "full")
	var names []string
	for _, one := range []struct {
		dir  string
		wasm []byte
	}{{dir, meter.Outline(wasm)}, {full, wasm}} {
		cache, err := wazero.NewCompilationCacheWithDir(one.dir)
		if err != nil {
			return err
		}
		if err := compileInto(context.Background(), cache, one.wasm); err != nil {
			return err
		}
		_, name, err := only(one.dir)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	err := os.Rename(filepath.Join(full, names[1]), filepath.Join(dir, names[0]))
	return errors.Join(err, os.RemoveAll(full))
}
