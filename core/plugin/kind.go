package plugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/extism"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
	"github.com/opengatewayprotocol/ogp/core/plugin/opa"
)

// ModuleKind is how a module is run.
type ModuleKind string

// The kinds of modules that are of this house. Others have a room each below this one.
const (
	KindABI        ModuleKind = "ogp_v1"      // imports ogp_v1, instances are pooled
	KindStdioOnce  ModuleKind = "stdio"       // a program, run anew for every call
	KindStdioLines ModuleKind = "stdio-lines" // a program that stays alive
)

// kind is how the modules of one kind are known, checked and run.
type kind struct {
	name  ModuleKind
	abi   string // in a manifest
	stdio string // likewise; empty: it has none
	// is reports whether a module is of this kind, and not says what one lacks that is not.
	is  func(*meter.Shape) bool
	not string
	// hooks are those that a module answers whose manifest names none.
	hooks func(*meter.Shape) []Hook
	// prepare gives the module as it is metered; nil: as it is.
	prepare func(wasm []byte, pages uint32) ([]byte, error)
	// imports are the functions of the host that it may import, by module and name, and missing says what to do
	// about another.
	imports map[string]map[string]hostFunc
	missing func(module, name string) string
	// exports are the functions that a module must have, and their types.
	exports func(v *version) (map[string]string, error)
	// start runs what is to run before the first call, and live brings a program to its first line; nil: nothing.
	start func(*instance) error
	live  func(*instance) error
	// call puts a question. status is as in Result.
	call func(in *instance, hook Hook, input []byte) (status int32, err error)

	once        bool // an instance is for one call
	blocks      bool // the host keeps a part of its memory for it
	entrypoints bool // its manifest can name what answers each hook
	prints      bool // its standard output is its answer
}

// kinds are all, in the order in which a module is looked at.
var kinds = []*kind{
	{
		name: KindABI, abi: abiModule, is: isABI, not: "the module neither imports ogp_v1 nor exports a hook",
		hooks: exportedHooks, imports: functions(abiModule, abiFuncs), missing: missingABI,
		exports: abiExports, start: startABI, call: callABI,
	},
	foreign(extism.Kind),
	foreign(opa.Kind),
	{
		name: KindStdioOnce, abi: "stdio", stdio: "once", is: isProgram, not: "the module does not export _start",
		hooks: exportedHooks, imports: functions("", nil), missing: missingABI, exports: programExports,
		call: func(in *instance, _ Hook, _ []byte) (int32, error) { return in.once() }, once: true, prints: true,
	},
	{
		name: KindStdioLines, abi: "stdio", stdio: "lines", is: isProgram, not: "the module does not export _start",
		hooks: exportedHooks, imports: functions("", nil), missing: missingABI, exports: programExports,
		live: (*instance).live, call: func(in *instance, _ Hook, _ []byte) (int32, error) { return in.line() }, prints: true,
	},
}

// kindNames are what a manifest's abi can be.
func kindNames() (out []string) {
	for _, k := range kinds {
		if !slices.Contains(out, k.abi) {
			out = append(out, k.abi)
		}
	}
	return out
}

// kindOf finds out what a module is.
func kindOf(s *meter.Shape, m *Manifest) (*kind, error) {
	want, stdio := m.ABI, m.Stdio
	if stdio == "" {
		stdio = "once"
	} else {
		want = "stdio"
	}
	not := ""
	for _, k := range kinds {
		if want != "" && k.abi != want || k.stdio != "" && k.stdio != stdio {
			continue
		}
		if k.is(s) {
			return k, nil
		}
		not = k.not
	}
	if want != "" {
		return nil, fmt.Errorf("the manifest says %s, but %s", want, not)
	}
	return nil, errors.New("it is neither a plugin for ogp_v1 nor a program: it exports no hook and no _start")
}

// functions are those of a kind's own module, of WASI and of the meter.
func functions(module string, own map[string]hostFunc) map[string]map[string]hostFunc {
	all := map[string]map[string]hostFunc{
		wasiModule:   wasiFuncs,
		meter.Module: {meter.Yield: {":", func(in *instance, mod api.Module, _ []uint64) { in.look(mod) }}},
	}
	if module != "" {
		all[module] = own
	}
	return all
}

func missingABI(module, name string) string {
	if module == abiModule {
		return "which this host does not have: is it made for a newer one?"
	}
	return fmt.Sprintf("and there is only %s and %s", abiModule, wasiModule)
}

func isABI(s *meter.Shape) bool {
	return len(exportedHooks(s)) > 0 || slices.ContainsFunc(s.Imports, func(i string) bool { return strings.HasPrefix(i, abiModule+".") })
}

func isProgram(s *meter.Shape) bool { return exported(s)("_start") }

// exported says which names a module exports.
func exported(s *meter.Shape) func(name string) bool {
	return func(name string) bool { _, ok := s.Exports[name]; return ok }
}

func exportedHooks(s *meter.Shape) (out []Hook) {
	for _, h := range core.Hooks {
		if exportOf(h.Hook, exported(s)) != "" {
			out = append(out, h.Hook)
		}
	}
	return out
}

// exportNames are the functions by which a module answers hooks.
func exportNames() (out []string) {
	for _, h := range core.Hooks {
		out = append(out, h.Exports[0])
	}
	return out
}

func abiExports(v *version) (map[string]string, error) {
	out := map[string]string{}
	for _, h := range v.manifest.Hooks {
		name := exportOf(h, v.exports)
		if name == "" {
			return nil, fmt.Errorf("the manifest names the hook %q, but the module does not export %s", h, h.Rule().Exports[0])
		}
		out[name] = "i:i"
	}
	for name, sig := range map[string]string{"ogp_init": "i:i", "_initialize": ":"} {
		if v.exports(name) {
			out[name] = sig
		}
	}
	return out, nil
}

func programExports(*version) (map[string]string, error) {
	return map[string]string{"_start": ":"}, nil
}

// check looks at what the compiled module imports and exports.
func (v *version) check() error {
	if len(v.code.Module.ImportedMemories()) > 0 {
		return errors.New("imports a memory: a plugin brings its own and exports it")
	}
	for _, f := range v.code.Module.ImportedFunctions() {
		module, name, _ := f.Import()
		hf, ok := v.kind.imports[module][name]
		if !ok {
			return fmt.Errorf("imports %s.%s, %s", module, name, v.kind.missing(module, name))
		}
		if p, r := guest.Types(hf.sig); !slices.Equal(p, f.ParamTypes()) || !slices.Equal(r, f.ResultTypes()) {
			return fmt.Errorf("imports %s.%s with another type than %s", module, name, hf.sig)
		}
		if module != meter.Module {
			v.imports = append(v.imports, module+"."+name)
		}
	}
	slices.Sort(v.imports)
	if v.code.Module.ExportedMemories()["memory"] == nil {
		return errors.New("does not export its memory as \"memory\"")
	}
	want, err := v.kind.exports(v)
	if err != nil {
		return err
	}
	fs := v.code.Module.ExportedFunctions()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		f := fs[name]
		if f == nil {
			return fmt.Errorf("does not export %s", name)
		}
		first, others, _ := strings.Cut(want[name], "|")
		if !hasType(f, first) && (others == "" || !hasType(f, others)) {
			return fmt.Errorf("exports %s with another type than %s", name, typeWords(guest.Types(first)))
		}
	}
	return nil
}

func hasType(f api.FunctionDefinition, sig string) bool {
	p, r := guest.Types(sig)
	return slices.Equal(p, f.ParamTypes()) && slices.Equal(r, f.ResultTypes())
}

func typeWords(params, results []api.ValueType) string {
	words := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return words(params) + " -> " + words(results)
}

// exports says whether the compiled module has a function of this name.
func (v *version) exports(name string) bool { return v.code.Module.ExportedFunctions()[name] != nil }

// provide makes the host modules, with no more in them than is imported.
func (v *version) provide() error {
	builders := map[string]wazero.HostModuleBuilder{}
	seen := map[string]bool{}
	for _, f := range v.code.Module.ImportedFunctions() {
		module, name, _ := f.Import()
		if seen[module+"."+name] {
			continue
		}
		seen[module+"."+name] = true
		if builders[module] == nil {
			builders[module] = v.code.Runtime.NewHostModuleBuilder(module)
		}
		hf := v.kind.imports[module][name]
		p, r := guest.Types(hf.sig)
		builders[module].NewFunctionBuilder().WithGoModuleFunction(hf, p, r).Export(name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(context.Background()); err != nil {
			return err
		}
	}
	return nil
}
