package plugin

import (
	"github.com/tetratelabs/wazero/api"

	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
)

// foreign is a kind that has a room of its own.
func foreign(k guest.Kind) *kind {
	imports := functions("", nil)
	if !k.WASI {
		delete(imports, wasiModule)
	}
	for module, all := range k.Imports {
		imports[module] = map[string]hostFunc{}
		for name, f := range all {
			imports[module][name] = hostFunc{f.Sig, func(in *instance, mod api.Module, s []uint64) { f.F(in, mod, s) }}
		}
	}
	return &kind{
		name: ModuleKind(k.Name), abi: k.Name, imports: imports, missing: k.Missing, prepare: k.Prepare, entrypoints: k.Entrypoints, blocks: k.Blocks, not: "the module is no such one",
		is:      func(s *meter.Shape) bool { return k.Is(s.Imports, exported(s)) },
		hooks:   func(s *meter.Shape) []Hook { return k.Hooks(exported(s)) },
		exports: func(v *version) (map[string]string, error) { return k.Exports(v.manifest.Hooks) },
		start: func(in *instance) (err error) {
			defer stopped(&err)
			in.guest, err = k.New(in)
			return err
		},
		call: func(in *instance, hook Hook, input []byte) (status int32, err error) {
			defer stopped(&err)
			return in.guest.Call(hook, input)
		},
	}
}

// stopped makes an error of a bound that was reached while the host's side of a kind ran, and not the guest.
func stopped(err *error) {
	switch x := recover().(type) {
	case nil:
	case *guest.Abort:
		*err = x
	case *exit:
		*err = x
	default:
		panic(x)
	}
}

// What a foreign guest has of its host: guest.Host.
var _ guest.Host = (*instance)(nil)

func (in *instance) Module() api.Module                       { return in.mod }
func (in *instance) Guest() guest.Guest                       { return in.guest }
func (in *instance) Hook() Hook                               { return in.hook }
func (in *instance) Answers(h Hook) bool                      { return in.v.manifest.hasHook(h) }
func (in *instance) Entrypoint(h Hook) string                 { return in.v.manifest.Entrypoints[h] }
func (in *instance) LeftOut() []string                        { return in.v.manifest.leftOut() }
func (in *instance) Config() []byte                           { return in.v.config }
func (in *instance) Enter(n int)                              { in.enter(in.mod, n) }
func (in *instance) Spend(n int64)                            { in.spend(in.mod, n) }
func (in *instance) View(what string, ptr, n uint32) []byte   { return view(in.mod, what, ptr, n) }
func (in *instance) Run(f api.Function, stack []uint64) error { return f.CallWithStack(in.ctx, stack) }
func (in *instance) Log(level int32, text []byte)             { in.v.log.line(level, "plugin", in.hook, text) }

func (in *instance) Get(path string) ([]byte, bool) {
	in.enter(in.mod, in.asked.Len())
	return in.asked.Path([]byte(path))
}

func (in *instance) Answer(b []byte) {
	if len(b) > maxOutput {
		stop(Limit, "an output of %d bytes, at most %d", len(b), maxOutput)
	}
	in.output = append(in.output[:0], b...)
	in.answered = true
}

// Operate does an operation of ogp_v1.
func (in *instance) Operate(op string, req []byte) ([]byte, int32, string) {
	in.alive()
	res, code, why := in.v.operate(in, op, req)
	if code >= 0 {
		in.spend(in.mod, operationUnits+int64(len(req)+len(res))/64)
	}
	return res, code, why
}

func (in *instance) Becomes(g guest.Guest) { in.guest = g }
func (in *instance) MemoryLimit() int64    { return int64(in.v.pages()) << 16 }
func (in *instance) BlockLimit() int64     { return int64(in.v.limits.pages()-in.v.pages()) << 16 }

// pages is what the guest's own memory may come to, in pages of 64 KiB: what there is, without what is kept for it.
func (v *version) pages() uint32 {
	all := v.limits.pages()
	if v.kind.blocks {
		all -= all / 4
	}
	return all
}

func (in *instance) Var(key string) ([]byte, bool, string) {
	if in.v.kv("kv.get", key) != nil {
		return nil, false, ""
	}
	ctx, cancel := in.waiting()
	defer cancel()
	value, ok, err := in.v.store.Get(ctx, key)
	return value, ok, in.v.refusedVar(err)
}

func (in *instance) SetVar(key string, value []byte) string {
	op := "kv.set"
	if value == nil {
		op = "kv.delete"
	}
	err := in.v.kv(op, key)
	if err == nil {
		in.Spend(operationUnits + int64(len(value))/64)
		ctx, cancel := in.waiting()
		defer cancel()
		switch {
		case key == "":
			err = refuse(callBad, "an empty key")
		case value == nil:
			err = in.v.store.Delete(ctx, key)
		default:
			err = in.v.store.Set(ctx, key, value, in.v.maxKV())
		}
	}
	return in.v.refusedVar(err)
}

// refusedVar counts what a guest is refused, and says why.
func (v *version) refusedVar(err error) string {
	if err == nil {
		return ""
	}
	v.refused.Add(1)
	return err.Error()
}
