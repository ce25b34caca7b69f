package plugin

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core/plugin/lookup"
	"github.com/tetratelabs/wazero/api"
)

// abiModule is the import namespace, which is also the version of the boundary.
const abiModule = "ogp_v1"

// exportOf gives the function that answers a hook, of those that has says are there; "" is none.
func exportOf(h Hook, has func(name string) bool) string {
	for _, name := range h.Rule().Exports {
		if has(name) {
			return name
		}
	}
	return ""
}

// hostFunc is a function of the host, and its type: i for i32, I for i64, results after the colon.
type hostFunc struct {
	sig string
	f   func(in *instance, mod api.Module, s []uint64)
}

// abiFuncs is the whole of ogp_v1: docs/plugins.md, sdk/ABI.md.
var abiFuncs = map[string]hostFunc{
	"read":    {"i:", abiRead},
	"read_at": {"iii:i", abiReadAt},
	"write":   {"ii:", abiWrite},
	"get":     {"ii:i", abiGet},
	"call":    {"iiii:i", abiCall},
	"log":     {"iii:", abiLog},
}

func (h hostFunc) Call(ctx context.Context, mod api.Module, s []uint64) { h.f(instanceOf(ctx), mod, s) }

// startABI runs _initialize and ogp_init.
func startABI(in *instance) error {
	if f := in.mod.ExportedFunction("_initialize"); f != nil {
		if err := f.CallWithStack(in.ctx, nil); err != nil {
			return err
		}
	}
	for _, h := range in.v.manifest.Hooks {
		in.hooks[h] = in.mod.ExportedFunction(exportOf(h, in.v.exports))
	}
	f := in.mod.ExportedFunction("ogp_init")
	if f == nil {
		return nil
	}
	in.pending, in.answered = in.v.config, false
	in.stack[0] = uint64(len(in.v.config))
	if err := f.CallWithStack(in.ctx, in.stack[:]); err != nil {
		return err
	}
	if status := int32(in.stack[0]); status != 0 {
		return in.error(Failed, "ogp_init: "+in.said(status))
	}
	return nil
}

func callABI(in *instance, hook Hook, input []byte) (int32, error) {
	in.stack[0] = uint64(len(input))
	err := in.hooks[hook].CallWithStack(in.ctx, in.stack[:])
	return int32(in.stack[0]), err
}

func abiRead(in *instance, mod api.Module, s []uint64) {
	in.enter(mod, len(in.pending))
	copy(view(mod, "read", uint32(s[0]), uint32(len(in.pending))), in.pending)
}

// abiReadAt gives a part of what is pending, for guests without an allocator: at most so many bytes from an
// offset on, and how many they were.
func abiReadAt(in *instance, mod api.Module, s []uint64) {
	from := in.pending[min(uint64(uint32(s[1])), uint64(len(in.pending))):]
	n := min(uint32(s[2]), uint32(len(from)))
	in.enter(mod, int(n))
	copy(view(mod, "read_at", uint32(s[0]), n), from)
	s[0] = uint64(n)
}

func abiWrite(in *instance, mod api.Module, s []uint64) {
	n := uint32(s[1])
	if n > maxOutput {
		stop(Limit, "write: an output of %d bytes, at most %d", n, maxOutput)
	}
	in.enter(mod, int(n))
	in.output = append(in.output[:0], view(mod, "write", uint32(s[0]), n)...)
	in.answered = true
}

func abiGet(in *instance, mod api.Module, s []uint64) {
	key := view(mod, "get", uint32(s[0]), uint32(s[1]))
	var text []byte
	ok := false
	switch name, rest := string(key[:min(len(key), 7)]), key; {
	case len(key) > 256:
		in.enter(mod, 0)
	case string(key) == "error":
		in.enter(mod, 0)
		text, ok = in.callError, in.callError != nil
	case name == "config.":
		in.enter(mod, len(in.v.config))
		text, ok = lookup.Path(in.v.config, rest[7:])
	default:
		in.enter(mod, in.asked.Len())
		text, ok = in.asked.Path(key)
	}
	in.pending = text
	s[0] = api.EncodeI32(-1)
	if ok {
		s[0] = api.EncodeI32(int32(len(text)))
	}
}

func abiCall(in *instance, mod api.Module, s []uint64) {
	op := string(view(mod, "call", uint32(s[0]), min(uint32(s[1]), 64)))
	req := view(mod, "call", uint32(s[2]), uint32(s[3]))
	in.enter(mod, len(req))
	in.alive()
	in.pending, in.callError = nil, nil
	if uint32(s[1]) > 64 {
		op = ""
	}
	res, code, why := in.v.operate(in, op, req)
	if code < 0 {
		in.callError = []byte(why)
		s[0] = api.EncodeI32(code)
		return
	}
	in.spend(mod, operationUnits+int64(len(res))/64)
	in.pending = res
	s[0] = api.EncodeI32(int32(len(res)))
}

func abiLog(in *instance, mod api.Module, s []uint64) {
	n := min(uint32(s[2]), maxLog)
	in.enter(mod, int(n))
	in.v.log.line(int32(s[0]), "plugin", in.hook, view(mod, "log", uint32(s[1]), n))
}
