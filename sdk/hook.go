package sdk

// The names of the hooks, as in the manifest.
const (
	HookRequest = "request"
	HookMessage = "message"
	HookNotify  = "notify"
	HookHandle  = "handle"
)

// What a hook gives back to the host beside its output.
const (
	statusDone    = 0
	statusFailure = 1
	statusNotMine = -1
)

// A hook turns an input into an output and a status.
type hook func(in Value) (out string, status int32)

var (
	hooks   = map[string]hook{}
	initial func(config Value) error
	config  Value
)

// SetMessagePolicy makes f the policy about messages. Packages use sdk/policy, which also
// exports it.
func SetMessagePolicy(f func(*Incoming) Decision) {
	hooks[HookMessage] = func(in Value) (string, int32) {
		d := f(incomingOf(in))
		if d.failure != "" {
			return d.failure, statusFailure
		}
		return d.json(), statusDone
	}
}

// SetRequestPolicy makes f the policy about requests to federate. Packages use sdk/policy,
// which also exports it.
func SetRequestPolicy(f func(*Request) Approval) {
	hooks[HookRequest] = func(in Value) (string, int32) {
		a := f(requestOf(in))
		if a.failure != "" {
			return a.failure, statusFailure
		}
		return a.json(), statusDone
	}
}

// SetNotifier makes f the notifier. It gets all events of one call: one, or several when
// the manifest says batch = true. Packages use sdk/notify, which also exports it.
func SetNotifier(f func([]Event) Outcome) {
	hooks[HookNotify] = func(in Value) (string, int32) { return f(eventsOf(in)).json(), statusDone }
}

// SetHandler makes f the handler. Packages use sdk/handle, which also exports it.
func SetHandler(f func(*Incoming) Answer) {
	hooks[HookHandle] = func(in Value) (string, int32) {
		a := f(incomingOf(in))
		if a.notMine {
			return "", statusNotMine
		}
		return a.json(), statusDone
	}
}

// OnInit calls f with the plugin's configuration when an instance starts. An error
// refuses to load the plugin, with its text for the operator.
func OnInit(f func(config Value) error) { initial = f }

// Config is the plugin's configuration: an object with what the manifest's [config] has
// and the operator's changes.
func Config() Value { return config }

// Run runs one hook over an input and gives its output and the status of the boundary:
// 0 done, > 0 an orderly failure with its text, -1 not mine. Tests call it.
func Run(name, input string) (output string, status int32) {
	if name == "policy" {
		name = HookMessage
	}
	h := hooks[name]
	if h == nil {
		return "", statusNotMine
	}
	if err := checked(input); err != nil {
		return err.Error(), statusFailure
	}
	return h(given(input))
}

// Start sets the configuration and calls what OnInit was given.
func Start(text string) error {
	if text == "" {
		text = "{}"
	}
	v, err := Parse(text)
	if err != nil {
		return err
	}
	config = v
	if initial == nil {
		return nil
	}
	return initial(v)
}
