package plugin

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
	"github.com/opengatewayprotocol/ogp/core/plugin/lookup"
	"github.com/opengatewayprotocol/ogp/core/plugin/meter"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const (
	// quantum is how many units a guest gets between two looks at the clock: 0.02-0.1 ms of usual code, at most
	// some 20 ms of divisions.
	quantum = 10_000
	// hostUnits is what one call of the host costs beside its bytes: it takes some 60 ns, a unit some 2.
	hostUnits = 32

	maxOutput = guest.MaxOutput // docs/plugins.md: an output is at most 1 MiB
	maxStderr = 4 << 10
	maxLog    = 8 << 10

	// What a start may use: Go's runtime and its packages' initialisation take some 10 ms.
	startTimeout = 10 * time.Second // of the first instance, at a load
	startGrace   = time.Second      // of a later one, for a call
	startFuel    = 300_000_000
)

// instance is one running copy of a module. One call at a time uses it; nothing in it is guarded, because
// what hands it over (the pool's channel, or for a program kept alive its own channels) orders the accesses.
type instance struct {
	v   *version
	mod api.Module
	ctx context.Context // finds the instance again inside host functions

	units  api.MutableGlobal // the guest's own counter; nil before the first look
	frames api.MutableGlobal // bytes that its calls within one another may still take; likewise
	hooks  map[Hook]api.Function
	calls  int
	fake   time.Duration // how far the clock of a guest without a clock has come

	// The call being made.
	hook      Hook
	caller    context.Context
	deadline  time.Time
	fuel      int64 // the call's budget
	used      int64 // of it, up to the last look
	given     int64 // what the counter was last set to
	hostCalls int
	requests  int
	part      []byte // of what is asked, for a plugin that reads no more
	input     []byte
	asked     lookup.Doc // all of the input
	pending   []byte
	output    []byte
	answered  bool   // write was called, or a line is complete
	callError []byte // of the last failed call import
	stdin     []byte // what is left of it
	stdout    []byte
	stderr    tail
	stack     [1]uint64

	lines *lines      // a program kept alive
	guest guest.Guest // of a kind from elsewhere
}

// instanceKey is by what the host functions find the instance in their context.
type instanceKey struct{}

func instanceOf(ctx context.Context) *instance { return ctx.Value(instanceKey{}).(*instance) }

// begin sets up the state of a call.
func (in *instance) begin(ctx context.Context, hook Hook, input []byte, deadline time.Time, fuel int64) {
	in.hook, in.caller, in.deadline = hook, ctx, deadline
	in.fuel, in.used, in.given = fuel, 0, 0
	in.hostCalls, in.requests = 0, 0
	in.input, in.pending, in.output, in.answered, in.callError = input, input, in.output[:0], false, nil
	in.asked.Set(input)
	in.stdout = in.stdout[:0]
	in.stderr.reset()
	if in.units != nil {
		in.give()
	}
	if in.frames != nil && in.lines == nil { // a program kept alive is still within its calls
		in.frames.Set(uint64(in.v.limits.stack()))
	}
}

func (in *instance) give() {
	in.given = min(quantum, in.fuel-in.used)
	in.units.Set(uint64(in.given))
}

// look is the meter's yield: the guest has no units left, or a host function used them up. It lets the scheduler
// and the garbage collector in.
func (in *instance) look(mod api.Module) {
	if in.units == nil {
		in.units = mod.ExportedGlobal(meter.Global).(api.MutableGlobal)
		in.frames = mod.ExportedGlobal(meter.Stack).(api.MutableGlobal)
	}
	in.count()
	if int64(in.frames.Get()) < 0 {
		stop(Limit, "its calls within one another take more than %d KiB of stack: it recurses too deep", in.v.limits.stack()>>10)
	}
	if in.used >= in.fuel {
		stop(Limit, "used up %d units of fuel", in.fuel)
	}
	in.v.turns.yield()
	in.alive()
	in.give()
}

// count takes over what the guest has used.
func (in *instance) count() {
	if in.units == nil {
		return
	}
	left := int64(in.units.Get())
	in.used += in.given - left
	in.given = left
}

// alive stops a call that is past its deadline or whose caller is gone.
func (in *instance) alive() {
	if !time.Now().Before(in.deadline) {
		stop(Timeout, "not done at its deadline")
	}
	if err := in.caller.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			stop(Timeout, "not done at its caller's deadline")
		}
		stop(Canceled, "its caller is gone")
	}
}

// enter begins a host function that moves n bytes.
func (in *instance) enter(mod api.Module, n int) {
	in.hostCalls++
	in.spend(mod, hostUnits+int64(n)/64)
}

// spend takes units for work that the host does for the guest.
func (in *instance) spend(mod api.Module, n int64) {
	if in.units == nil {
		in.look(mod)
	}
	left := int64(in.units.Get()) - n
	in.units.Set(uint64(left))
	if left < 0 {
		in.look(mod)
	}
}

// sleep waits, but not past the deadline. A guest without a clock does not wait: its time passes at once.
func (in *instance) sleep(d time.Duration) {
	in.alive()
	if !in.clock() {
		in.fake += max(d, 0)
		return
	}
	if left := time.Until(in.deadline); d > left {
		d = left
	}
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	in.v.turns.leave()
	select {
	case <-t.C:
	case <-in.caller.Done():
	}
	in.v.turns.again()
	in.alive()
}

// clock says whether the guest may tell the time: one that is to decide from its input alone may not.
func (in *instance) clock() bool {
	if in.hook != "" {
		return !in.hook.Rule().Pure
	}
	return !slices.ContainsFunc(in.v.manifest.Hooks, func(h Hook) bool { return h.Rule().Pure })
}

// view gives the bytes that the guest points at; a bad pointer traps.
func view(mod api.Module, what string, ptr, n uint32) []byte {
	b, ok := mod.Memory().Read(ptr, n)
	if !ok {
		stop(Trap, "%s: %d bytes at %#x are outside of its memory of %d bytes", what, n, ptr, mod.Memory().Size())
	}
	return b
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) reset() { t.b = t.b[:0] }

func (t *tail) write(p []byte) {
	if len(p) > maxStderr {
		p = p[len(p)-maxStderr:]
	}
	if over := len(t.b) + len(p) - maxStderr; over > 0 {
		t.b = t.b[:copy(t.b, t.b[over:])]
	}
	t.b = append(t.b, p...)
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.b), "?") }

// start makes an instance and runs what it runs at its start: the start section, _initialize, ogp_init.
// The call that it is made for may wait for it beyond its own deadline, for as long as startGrace.
func (v *version) start(ctx context.Context, deadline time.Time) (_ *instance, err error) {
	in := &instance{v: v, hooks: map[Hook]api.Function{}}
	base, free := withMemory(context.Background())
	in.ctx = context.WithValue(base, instanceKey{}, in)
	in.begin(ctx, "", v.config, deadline, startFuel)
	defer func() {
		if err != nil && in.mod != nil {
			in.mod.Close(context.Background())
		}
	}()
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader)
	mod, err := v.code.Runtime.InstantiateModule(in.ctx, v.code.Module, cfg)
	if err != nil {
		free()
		return nil, in.failure(err)
	}
	in.mod = mod
	if v.kind.start != nil {
		if err = v.kind.start(in); err != nil {
			return nil, in.failure(err)
		}
	}
	return in, nil
}

func (in *instance) close() {
	if in.lines != nil {
		in.v.turns.again() // its guest runs to its end
		in.lines.end()
		in.v.turns.leave()
	}
	in.mod.Close(context.Background())
}

// call makes one call. keep says whether the instance may be used again.
func (in *instance) call(ctx context.Context, hook Hook, input []byte, deadline time.Time) (r Result, keep bool, err error) {
	if in.v.reads == nil || in.v.reads.wrong.Load() {
		return in.ask(ctx, hook, input, input, deadline)
	}
	return in.narrow(hook, input, func(given []byte) (Result, bool, error) { return in.ask(ctx, hook, input, given, deadline) })
}

// ask is call with what of the input is given.
func (in *instance) ask(ctx context.Context, hook Hook, input, given []byte, deadline time.Time) (r Result, keep bool, err error) {
	in.begin(ctx, hook, input, deadline, in.v.limits.Fuel)
	in.calls++
	in.input, in.pending = given, given // what it asks the host for is found in all of the input
	var status int32
	status, err = in.v.kind.call(in, hook, in.input)
	in.count()
	size := in.mod.Memory().Size()
	r = Result{Status: int(status), FuelUsed: max(in.used, 0), HostCalls: in.hostCalls, MemoryBytes: int64(size)}
	keep = err == nil && in.calls < in.v.limits.MaxCalls && int64(size) <= int64(in.v.pages())<<16/4*3
	in.input, in.pending, in.caller = nil, nil, nil
	in.asked.Set(nil)
	switch {
	case err != nil:
		var done *Error
		if errors.As(err, &done) {
			return r, false, done
		}
		return r, false, in.failure(err)
	case status > 0:
		r.Output = bytes.Clone(in.output)
		return r, keep, in.error(Failed, in.said(status))
	case status == StatusNotMine:
		return r, keep, nil
	case status < 0:
		return r, false, in.error(BadAnswer, "returned a status that has no meaning")
	}
	if why := notObject(in.output); why != "" {
		return r, false, in.error(BadAnswer, why)
	}
	if in.v.answer != nil {
		if r.Answer, err = in.v.answer(hook, in.output); err != nil {
			return r, false, in.error(BadAnswer, err.Error()+": it answered "+inQuotes(in.output))
		}
	}
	r.Output = bytes.Clone(in.output)
	return r, keep, nil
}

// inQuotes is the beginning of an output, for people.
func inQuotes(b []byte) string {
	const most = 200
	if len(b) > most {
		return strconv.Quote(string(b[:most])) + "..."
	}
	return strconv.Quote(string(b))
}

// said is the text of an orderly failure.
func (in *instance) said(status int32) string {
	text := strings.ToValidUTF8(string(bytes.TrimSpace(in.output[:min(len(in.output), maxStderr)])), "?")
	if text == "" {
		return "status " + strconv.Itoa(int(status)) + " without a text"
	}
	return printable(text)
}

func (in *instance) error(kind core.Kind, text string) *Error {
	return &Error{Plugin: in.v.name, Hook: in.hook, Kind: kind, Text: text, Stderr: printable(in.stderr.String())}
}

// failure gives an engine's error its kind.
func (in *instance) failure(err error) *Error {
	var a *guest.Abort
	var x *exit
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &a):
		return in.error(a.Kind, a.Text)
	case errors.As(err, &x):
		return in.error(Trap, x.Error())
	}
	e = in.error(Trap, in.words(firstLine(err)))
	_, trace, _ := strings.Cut(err.Error(), "\n")
	e.Trace = trace
	return e
}

// traps are the engine's words for what ends a guest, and what they mean.
var traps = [][2]string{
	{"unreachable", "it gave up, as a panic or an abort does (unreachable)"},
	{"out of bounds memory access", "it reached outside of its memory (out of bounds memory access)"},
	{"invalid table access", "it called a function that does not exist (invalid table access)"},
	{"indirect call type mismatch", "it called a function by another type than it has (indirect call type mismatch)"},
	{"integer divide by zero", "it divided by zero (integer divide by zero)"},
	{"stack overflow", "its calls lie too deep within each other (stack overflow)"},
}

// words say what a trap means.
func (in *instance) words(text string) string {
	for _, t := range traps {
		if strings.HasSuffix(text, t[0]) {
			text = t[1]
			break
		}
	}
	if most := in.v.limits.MemoryMiB; in.mod != nil && int64(in.mod.Memory().Size()) > most<<20/8*7 {
		text += fmt.Sprintf("; its memory is nearly all of the %d MiB that it may have: memory_mib in [limits] gives it more", most)
	}
	return text
}

// firstLine leaves out the guest's stack, which wazero puts into the lines that follow.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return printable(strings.ToValidUTF8(line, "?"))
}
