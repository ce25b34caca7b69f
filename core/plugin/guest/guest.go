// Package guest is what a kind of module and the host of plugins know of each other. The host bounds and meters
// every kind alike: memory, fuel, deadline, output. A kind says by what its modules are known, what they import, and
// how a question is put to them.
package guest

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core"
)

// Kind is a kind of module that came to be elsewhere, for other hosts.
type Kind struct {
	// Name is what a manifest's abi calls it.
	Name string
	// Is reports whether a module with these imports (as module.name) and exports is of this kind.
	Is func(imports []string, exports func(name string) bool) bool
	// Hooks are those that a module answers whose manifest names none.
	Hooks func(exports func(name string) bool) []core.Hook
	// Entrypoints says that the manifest can name what answers each hook.
	Entrypoints bool
	// Prepare gives the module as it is metered. Nil means as it is.
	Prepare func(wasm []byte, maxPages uint32) ([]byte, error)
	// Imports are the functions that its modules may import, by module and name.
	Imports map[string]map[string]Func
	// Blocks says that the host keeps memory for its instances beside their own: a quarter of what they may have.
	Blocks bool
	// WASI says that its modules may import WASI, too.
	WASI bool
	// Missing says what to do about an import that there is not.
	Missing func(module, name string) string
	// Exports are the functions that a module must have to answer the hooks, and their types, as in [Func]; "|"
	// is between types of which any will do.
	Exports func(hooks []core.Hook) (map[string]string, error)
	// New takes over a fresh instance and runs what is to run before its first call.
	New func(h Host) (Guest, error)
}

// Func is a function that guests import. Sig is its type: i for i32, I for i64, results after the colon.
type Func struct {
	Sig string
	F   func(h Host, mod api.Module, s []uint64)
}

// Guest is an instance of a kind. One call at a time uses it.
type Guest interface {
	// Call puts a question. The answer goes to [Host.Answer]; status is 0 (done), below zero (not mine), or above
	// zero for an orderly failure, whose text is the answer then.
	Call(hook core.Hook, input []byte) (status int32, err error)
}

// Host is what an instance has of its host. Its methods end the guest's call by a panic where a bound is reached.
type Host interface {
	Module() api.Module
	// Guest is what New made, or what Becomes was told of; else nil.
	Guest() Guest
	// Becomes makes the guest known to functions that are called within New.
	Becomes(Guest)
	// Hook is the one being asked; empty within New.
	Hook() core.Hook
	// Answers reports whether the plugin answers a hook.
	Answers(hook core.Hook) bool
	// Entrypoint is what the manifest names for a hook; empty: nothing.
	Entrypoint(hook core.Hook) string
	// LeftOut are the members, by their dotted paths, that the manifest leaves out of the input.
	LeftOut() []string
	// Config is the plugin's configuration, a JSON object, to be read only.
	Config() []byte
	// Get gives an attribute of the input by its dotted path.
	Get(path string) (text []byte, ok bool)
	// Run calls a function of the module.
	Run(f api.Function, stack []uint64) error
	// Enter begins a function of the host that moves n bytes, and Spend takes units of fuel for its work.
	Enter(n int)
	Spend(n int64)
	// View gives the bytes that the guest points at, until it runs again. A bad pointer ends the call.
	View(what string, ptr, n uint32) []byte
	// Answer sets the answer, a copy.
	Answer(b []byte)
	// Operate does an operation of ogp_v1, with its grants. code is negative when it failed, and why says why.
	Operate(op string, request []byte) (result []byte, code int32, why string)
	// Log writes a line: level 0 debug, 1 info, 2 warn, 3 error.
	Log(level int32, text []byte)
	// MemoryLimit is how many bytes the guest's memory may come to.
	MemoryLimit() int64
	// BlockLimit is how many bytes may be kept for the guest beside its memory; see [Kind].Blocks.
	BlockLimit() int64
	// Var and SetVar are the plugin's key-value store, as far as it is granted; why says what was not. Nothing is
	// there where there is no grant, and a nil value removes the key.
	Var(key string) (value []byte, ok bool, why string)
	SetVar(key string, value []byte) (why string)
}

// The kinds of errors that end a call.
const (
	// BadModule is a module that does not load.
	BadModule core.Kind = "module"
	// Failed is an orderly failure.
	Failed core.Kind = "failed"
	// Trap is a guest that crashed or exited.
	Trap core.Kind = "trap"
	// Limit is a guest that used up its fuel, memory or output.
	Limit core.Kind = "limit"
	// BadAnswer is an output that is no answer to what was asked.
	BadAnswer core.Kind = "answer"
)

// MaxOutput bounds an answer, in bytes.
const MaxOutput = 1 << 20

// Abort is what ends a guest's call.
type Abort struct {
	Kind core.Kind
	Text string
}

func (a *Abort) Error() string { return string(a.Kind) + ": " + a.Text }

// Stop ends the guest's call.
func Stop(kind core.Kind, format string, a ...any) { panic(Abortf(kind, format, a...)) }

// Abortf is what Stop panics with, to be returned where the guest does not run.
func Abortf(kind core.Kind, format string, a ...any) *Abort {
	return &Abort{kind, fmt.Sprintf(format, a...)}
}

// Types gives the value types of a Sig.
func Types(sig string) (params, results []api.ValueType) {
	dst := &params
	for _, c := range sig {
		switch c {
		case 'i':
			*dst = append(*dst, api.ValueTypeI32)
		case 'I':
			*dst = append(*dst, api.ValueTypeI64)
		case ':':
			dst = &results
		}
	}
	return params, results
}
