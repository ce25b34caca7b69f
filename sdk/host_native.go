//go:build !wasip1

package sdk

import (
	"errors"
	"io"
	"os"
	"sort"
	"strings"
)

// Host stands in for the gateway where a plugin runs natively. [sdktest.Host] is one.
type Host interface {
	// Call does an operation; a negative code is one of the Call codes, and then the
	// text says why.
	Call(op, request string) (text string, code int32)
	// Log takes a line.
	Log(level uint32, text string)
}

var (
	native    Host
	lastError string
)

// Use makes h the host of what runs natively, and gives back a function that restores the
// one before. With none, every operation is not granted and log lines go to stderr.
func Use(h Host) (restore func()) {
	before := native
	native = h
	return func() { native = before }
}

// checked says whether an input is JSON: natively, somebody may have written it.
func checked(input string) error {
	_, err := Parse(input)
	return err
}

func hostCall(op, request string) (string, int32) {
	if native == nil {
		lastError = "no host: this is a native run"
		return "", CallNotGranted
	}
	text, code := native.Call(op, request)
	if code < 0 {
		lastError = text
		return "", code
	}
	return text, code
}

// hostGet knows only the last error: natively there is no input to look into.
func hostGet(key string) (string, bool) {
	if key == "error" {
		return lastError, true
	}
	return "", false
}

func hostLog(level uint32, text string) {
	if native != nil {
		native.Log(level, text)
		return
	}
	_, _ = os.Stderr.WriteString("log " + string(rune('0'+level)) + ": " + text + "\n")
}

// Serve is a module's export. Natively there is nothing to serve; use [Run].
func Serve(hook string, n int32) int32 { return statusNotMine }

// Main runs one case from standard input and prints the answer. A case is what the hook
// gets, or an object with it as "input", and with what changes the configuration of
// plugin.toml as "config".
// It exits with 1 when the hook fails and with 2 when the case cannot be read.
func Main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		quit(2, err.Error())
	}
	out, err := RunCase(string(text))
	if err != nil {
		quit(1, err.Error())
	}
	_, _ = os.Stdout.WriteString(out + "\n")
}

func quit(code int, text string) {
	_, _ = os.Stderr.WriteString(text + "\n")
	os.Exit(code)
}

// RunCase starts the plugin with the configuration of plugin.toml and, over it, the case's,
// as the gateway does, and runs the hook that its input
// names: "hook" of the input, or the only hook that the plugin has.
func RunCase(text string) (string, error) {
	v, err := Parse(text)
	if err != nil {
		return "", err
	}
	input := v.Get("input")
	if !input.Exists() {
		input = v
	}
	config, err := nativeConfig(v.Get("config"))
	if err != nil {
		return "", err
	}
	if err := Start(config); err != nil {
		return "", err
	}
	name, err := hookOf(input)
	if err != nil {
		return "", err
	}
	if err := checkInput(name, input); err != nil {
		return "", err
	}
	for _, member := range [...]string{"kv", "http", "secrets"} {
		if native == nil && v.Get("input").Exists() && v.Get(member).Exists() {
			return "", errors.New("the case has \"" + member + "\", which this run has no host for: \"go test\" and \"ogp plugin test\" have one")
		}
	}
	out, status := Run(name, sized(input).JSON())
	switch {
	case status == statusNotMine:
		return `{"status":"not mine"}`, nil
	case status != statusDone:
		return "", failure(out)
	}
	return out, nil
}

// hookOf is the hook that an input names, or the only one that the plugin has.
func hookOf(input Value) (string, error) {
	name := input.Get("hook").Text()
	if kind := input.Get("kind").Text(); kind != "" {
		name = kind
	}
	var answers []string
	for one := range hooks {
		answers = append(answers, one)
	}
	switch sort.Strings(answers); {
	case name == "" && input.Get("event").Exists():
		name = HookNotify
	case name == "" && len(answers) == 1:
		name = answers[0]
	case name == "policy":
		name = HookMessage
	}
	switch {
	case name == "":
		return "", errors.New("which hook? the plugin answers " + strings.Join(answers, ", "))
	case hooks[name] == nil:
		return "", errors.New("hook \"" + name + "\": the plugin answers " + strings.Join(answers, ", "))
	}
	return name, nil
}

// sized adds to an input what the gateway always says of a message, and a case need not: how
// long its text is.
func sized(input Value) Value {
	message := input.Get("message")
	if message.Kind() != Map || message.Get("textBytes").Exists() {
		return input
	}
	m := messageOf(message)
	var in, with Object
	message.Each(func(name string, v Value) bool { with.Value(name, v); return true })
	with.Int("textBytes", int64(len(m.Text())))
	input.Each(func(name string, v Value) bool {
		if name != "message" {
			in.Value(name, v)
		}
		return true
	})
	out, err := Parse(in.Object("message", &with).JSON())
	if err != nil { // cannot happen: both came from a JSON text
		return input
	}
	return out
}

// checkInput says why a text is no input of a hook, as the gateway's own test does.
func checkInput(hook string, in Value) error {
	switch {
	case in.Kind() != Map:
		return errors.New("the input is no JSON object as a hook gets it")
	case hook == HookNotify:
		if in.Get("event").Kind() != Map && in.Get("events").Len() == 0 {
			return errors.New(`the input of a notifier has an object "event"`)
		}
	case hook == HookRequest:
		if in.Get("request").Kind() != Map && in.Get("peer").Kind() != Map {
			return errors.New(`the input about a request has objects "peer" and "request"`)
		}
	case in.Get("message").Get("intent").Text() == "":
		return errors.New(`the input about a message has an object "message" with a text "intent"`)
	}
	return nil
}

// failure is a hook's orderly failure.
type failure string

func (f failure) Error() string { return "the plugin failed: " + string(f) }
