// Package plugin runs WebAssembly plugins: policies, notifiers and handlers in any language that compiles to a
// core module. A caller hands JSON in and gets JSON back; what the JSON means is the caller's.
//
// A plugin has no power of its own: no files, no environment, no sockets, no clock beyond what [Grants] say. It
// cannot hang or swell the program: every call has a deadline and a budget of work, every instance a bounded
// memory, and what breaks a bound costs that one call. Package meter says how time is bounded.
//
// The boundary is ogp_v1, described in sdk/ABI.md.
package plugin

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// StatusNotMine is the status of an answer that leaves the matter to the next plugin.
const StatusNotMine = -1

// Spec says what to load, and what it may do.
type Spec struct {
	// Name is the plugin's name in this gateway. Empty means the manifest's.
	Name string
	// Path is the module's file; plugin.toml is looked for beside it. Bytes is the module itself, and wins.
	Path  string
	Bytes []byte
	// Manifest replaces what is found beside or inside the module.
	Manifest *Manifest
	// SHA256 pins the module: hex, either case. Empty means not pinned.
	SHA256 string
	Grants Grants
	// Config is a JSON object laid over the manifest's defaults.
	Config []byte
	// Limits replace those of the manifest where they are not zero.
	Limits Limits
	// Secrets gives the value of a secret, and whether it is configured. It is asked at every use, so that a
	// changed secret counts at once. One that is configured and cannot be read is "" and true: requests that
	// need it fail, and none goes out without it.
	Secrets func(name string) (value string, ok bool)
	KV      KV
	// Answer reads what a hook answered, which is a JSON object. Its error makes the call one that failed,
	// with BadAnswer: it counts, and pauses the plugin when it repeats. Nil means that any object will do.
	Answer func(hook Hook, output []byte) (any, error)
	// RoundTrip answers the plugin's requests instead of the network, for trying it out. Grants and secrets hold
	// as ever. Nil means the network.
	RoundTrip http.RoundTripper
	// Tried says that the plugin is tried out: a policy fails that looks at more than its manifest's reads names, where it
	// would otherwise be asked with everything from then on.
	Tried bool
	// Logger gets the plugin's own lines. Nil means the host's.
	Logger *slog.Logger
}

// Result is what a call gave and what it cost.
type Result struct {
	// Output is the answer, a JSON object; it is the caller's. Empty when Status is StatusNotMine.
	Output []byte
	// Answer is what Spec.Answer made of it.
	Answer any
	// Status is 0 (done), StatusNotMine, or what the plugin failed with in order.
	Status int
	// FuelUsed is in units of Limits.Fuel.
	FuelUsed int64
	// HostCalls counts the calls of imported functions.
	HostCalls int
	// MemoryBytes is the size of the instance's memory afterwards.
	MemoryBytes int64
	Took        time.Duration
}

// NotMine says whether the plugin left the matter to the next.
func (r Result) NotMine() bool { return r.Status == StatusNotMine }

// Plugin is a loaded plugin. It is safe for concurrent use.
type Plugin struct {
	host *Host
	name string

	mu      sync.Mutex // guards the rest, but the counters
	spec    Spec
	current *version // nil once closed
	retired sync.WaitGroup
	breaker breaker

	calls, failures, notMine atomic.Int64
	paces                    Paces
	reload                   chan struct{} // one reload at a time
}

// Info is what there is to know about a plugin.
type Info struct {
	Name         string
	Version      string
	Description  string
	Kind         ModuleKind
	Hooks        []Hook
	Intents      []string
	Batch        bool
	Path         string
	SHA256       string
	Size         int // of the module in bytes, as given
	Limits       Limits
	Asks         Grants
	Grants       Grants
	Missing      []string // asked and not granted
	Imports      []string // what the module imports, as module.name
	LoadedAt     time.Time
	LoadTook     time.Duration
	Calls        int64
	Failures     int64
	NotMine      int64
	Refused      int64         // operations refused or failed, in this version
	Instances    int           // alive
	PausedFor    time.Duration // not zero: it failed repeatedly, and is not called for so long
	LastError    string
	FailedInARow int // calls that failed since the last one that worked
}

// acquire takes the version in force for one call.
func (p *Plugin) acquire() (*version, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil, &Error{Plugin: p.name, Kind: Closed}
	}
	p.current.calls.Add(1)
	return p.current, nil
}

// Call asks the plugin. input is a JSON object; it is only read, and only until Call returns. An output that is
// not a JSON object, or not what Spec.Answer wants, is the error BadAnswer. Errors are of type *Error with the kinds Denied (it has no such
// hook), Failed, Trap, Limit, Timeout, Canceled, BadAnswer, Busy, Paused and Closed. The result's numbers
// count for failed calls too.
func (p *Plugin) Call(ctx context.Context, hook Hook, input []byte) (Result, error) {
	began := time.Now()
	v, err := p.acquire()
	if err != nil {
		return Result{}, err
	}
	defer v.calls.Done()
	if !v.manifest.hasHook(hook) {
		return Result{}, &Error{Plugin: p.name, Hook: hook, Kind: Denied, Text: "the plugin does not answer this hook"}
	}
	if rest := p.paused(); rest > 0 {
		return Result{}, &Error{Plugin: p.name, Hook: hook, Kind: Paused, RetryAfter: rest,
			Text: "paused after repeated failures, for " + rest.Round(time.Second).String()}
	}
	r, err := v.call(ctx, hook, input, began)
	r.Took = time.Since(began)
	p.calls.Add(1)
	p.paces.Add(r.Took, r.FuelUsed)
	switch {
	case err != nil:
		p.failures.Add(1)
	case r.NotMine():
		p.notMine.Add(1)
	}
	p.report(err)
	return r, err
}

// Pace is that of the last calls; nil where there was none since it was loaded.
func (p *Plugin) Pace() *Pace { return p.paces.Pace() }

// Hours are those of the last two days that had calls since it was loaded.
func (p *Plugin) Hours() []PaceHour { return p.paces.Hours() }

// Info tells about the plugin.
func (p *Plugin) Info() Info {
	p.mu.Lock()
	v, spec := p.current, p.spec
	rest, last, row := p.breaker.paused(p.host.now()), p.breaker.last, p.breaker.failed
	p.mu.Unlock()
	i := Info{Name: p.name, Path: spec.Path, Grants: spec.Grants, Calls: p.calls.Load(), Failures: p.failures.Load(),
		NotMine: p.notMine.Load(), PausedFor: rest, LastError: last, FailedInARow: row}
	if v == nil {
		return i
	}
	m := v.manifest
	i.Version, i.Description, i.Kind, i.Hooks, i.Intents, i.Batch = m.Version, m.Description, v.kind.name, m.Hooks, m.Intents, m.Batch
	i.SHA256, i.Size, i.Limits, i.Asks, i.Missing = v.sha256, v.size, v.limits, m.Asks(), spec.Missing(m)
	i.Imports, i.LoadedAt, i.LoadTook = v.imports, v.loaded, v.took
	i.Refused, i.Instances = v.refused.Load(), cap(v.slots)-len(v.slots)
	return i
}

// Manifest gives the manifest in force. It is shared and must not be changed.
func (p *Plugin) Manifest() *Manifest {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == nil {
		return nil
	}
	return p.current.manifest
}

// Replace loads the plugin again as spec says, from the same file or another, and swaps it in when everything worked,
// self-tests included; otherwise the old one goes on and the error says why. Calls in flight end on the version that
// they began with. The name stays.
func (p *Plugin) Replace(ctx context.Context, spec Spec) error {
	select {
	case p.reload <- struct{}{}:
		defer func() { <-p.reload }()
	case <-ctx.Done():
		return &Error{Plugin: p.name, Kind: Canceled, Err: ctx.Err()}
	}
	spec.Name = p.name
	v, err := p.host.build(ctx, spec)
	if err != nil {
		return err
	}
	p.mu.Lock()
	old := p.current
	if old == nil {
		p.mu.Unlock()
		v.close()
		return &Error{Plugin: p.name, Kind: Closed}
	}
	p.current, p.spec, p.breaker = v, spec, breaker{}
	p.retired.Add(1)
	p.mu.Unlock()
	go func() { // the last call on the old version may take as long as its timeout; Close waits for this
		defer p.retired.Done()
		old.calls.Wait()
		old.close()
	}()
	return nil
}

// Close waits for the calls in flight and frees everything. Later calls return Closed.
func (p *Plugin) Close() {
	p.mu.Lock()
	v := p.current
	p.current = nil
	p.mu.Unlock()
	if v != nil {
		v.calls.Wait()
		v.close()
	}
	p.retired.Wait()
	p.host.forget(p)
}
