package compile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/opengatewayprotocol/ogp/core/text"
)

// childVariable holds a childOrder where this program is to compile a module and nothing else.
const childVariable = "OGP_COMPILE"

// mayCompile says that this program's main calls ChildMain, so that it can be started as a child.
var mayCompile atomic.Bool

// childOrder is what a child is told. The module is on its standard input.
type childOrder struct {
	Dir     string // where the one entry goes; empty, and the child's alone
	Build   string // of the parent: a program that was replaced meanwhile compiles for another
	Memory  uint64 // bytes that the child may use
	Seconds int    // after which it ends by itself, in case that nobody is left to end it
}

// childAnswer is what a child writes to its standard output.
type childAnswer struct {
	Outcome string
	Text    string
}

// The outcomes of a child.
const (
	childDone    = "done"
	childRefused = "refused" // by the compiler
	childMemory  = "memory"  // more than it may use
	childFiles   = "files"   // it could not write: no space, no descriptors
	childOther   = "build"   // it is another program than its parent
)

// ChildMain must be the first thing that main does in a program that loads plugins. Where the program was
// started by a [Compiler] to compile a module, it does that and ends; otherwise it returns at once. Modules are
// compiled in such children alone, because nothing can interrupt wazero's compiler or bound its memory: a child
// can be ended. docs/threat-model.md#d3
func ChildMain() {
	order := os.Getenv(childVariable)
	if order == "" {
		mayCompile.Store(true)
		return
	}
	var o childOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		os.Exit(1)
	}
	tell(o.answer(os.Stdin))
	os.Exit(0)
}

func (o *childOrder) answer(wasm io.Reader) childAnswer {
	if o.Build != buildID() {
		return childAnswer{Outcome: childOther}
	}
	return o.compile(wasm)
}

func tell(a childAnswer) {
	b, err := json.Marshal(a)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		os.Exit(1)
	}
}

// buildID tells one build of this program from another, as far as it matters for what the two write and read: by
// the versions of all modules in it, and how it was built.
func buildID() string {
	version := runtime.Version()
	if b, ok := debug.ReadBuildInfo(); ok {
		version = b.String()
	}
	sum := sha256.Sum256([]byte(version))
	return hex.EncodeToString(sum[:])
}

// compile compiles the module into the directory.
func (o *childOrder) compile(wasm io.Reader) childAnswer {
	lowerPriority()
	debug.SetMemoryLimit(int64(o.Memory / 4 * 3))
	go o.watch()
	b, err := io.ReadAll(io.LimitReader(wasm, maxMetered+1))
	if err != nil {
		return childAnswer{childFiles, err.Error()}
	}
	err = compileEntry(o.Dir, b)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return childAnswer{childFiles, err.Error()}
	case err != nil:
		return childAnswer{childRefused, firstLine(err.Error())}
	}
	return childAnswer{Outcome: childDone}
}

// watch ends the child that uses more memory or time than it may, or whose parent is gone.
func (o *childOrder) watch() {
	parent, end := os.Getppid(), time.Now().Add(time.Duration(o.Seconds)*time.Second)
	all := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	for range time.Tick(5 * time.Millisecond) {
		metrics.Read(all)
		switch used := all[0].Value.Uint64() - all[1].Value.Uint64(); {
		case used > o.Memory:
			tell(childAnswer{childMemory, fmt.Sprintf("more than %d MiB", o.Memory>>20)})
			os.Exit(0)
		case time.Now().After(end), os.Getppid() != parent:
			os.Exit(1)
		}
	}
}

// runtimeConfig is the engine's, for compiling and for running: an entry of the one must be found by the other.
func runtimeConfig(cache wazero.CompilationCache, pages uint32) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExtendedConst).
		WithMemoryLimitPages(pages).
		WithDebugInfoEnabled(false).
		WithCompilationCache(cache)
}

// compileInto has the cache hold a module. It closes the cache.
func compileInto(ctx context.Context, cache wazero.CompilationCache, wasm []byte) error {
	defer cache.Close(context.Background())
	rt := wazero.NewRuntimeWithConfig(context.Background(), runtimeConfig(cache, 1<<16))
	defer rt.Close(context.Background())
	_, err := rt.CompileModule(ctx, wasm)
	return err
}

// found is a context under which wazero takes a module from its cache and does not compile one that is not in it:
// it looks at the context before each function, where it compiles with several workers. What is missing is then
// context.Canceled. The module is read and checked in either case.
var found = func() context.Context {
	ctx, cancel := context.WithCancel(experimental.WithCompilationWorkers(context.Background(), 2))
	cancel()
	return ctx
}()

// valid says what is wrong with a module, without compiling it.
func valid(wasm []byte) error {
	err := compileInto(found, wazero.NewCompilationCache(), wasm)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// said is the first line of what a child that crashed wrote to its standard error.
func said(stderr []byte) string {
	if line := firstLine(strings.TrimSpace(string(stderr))); line != "" {
		return ": " + line
	}
	return ""
}

// firstLine is what comes before the stack of a failure.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return text.Line(line, 0)
}
