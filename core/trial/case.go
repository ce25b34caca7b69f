package trial

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Case is one case: an input, and what it is to be answered. sdk/ABI.md#cases
type Case struct {
	Input  core.Raw          `json:"input"`
	Expect core.Raw          `json:"expect"`
	Config core.Raw          `json:"config"`
	KV     map[string]string `json:"kv"`
	// HTTP answers the plugin's requests, one after the other; what its manifest asks
	// for is granted then. Secrets are what it may use beside them.
	HTTP    []fakeAnswer      `json:"http"`
	Secrets map[string]string `json:"secrets"`
}

// fakeAnswer is what a server answers, or why it cannot be reached.
type fakeAnswer struct {
	Status  int               `json:"status"` // 0: 200
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Error   string            `json:"error"`
}

// fakeServers answer requests in the order in which they come.
type fakeServers struct {
	mu   sync.Mutex // guards left
	left []fakeAnswer
}

// RoundTrip gives the next answer.
func (f *fakeServers) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.left) == 0 {
		return nil, errors.New("the case has no further answer")
	}
	a := f.left[0]
	f.left = f.left[1:]
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	h := http.Header{}
	for name, value := range a.Headers {
		h.Set(name, value)
	}
	return &http.Response{StatusCode: cmp.Or(a.Status, http.StatusOK), Header: h, Body: io.NopCloser(strings.NewReader(a.Body)), Request: r}, nil
}

// maxCase is the largest case in bytes.
const maxCase = 16 << 20

// ReadCase reads a case. A text without the member "input" is an input itself. name is what
// mistakes call it.
func ReadCase(in io.Reader, name string) (Case, error) {
	text, err := files.ReadTextOf(in, name, maxCase)
	if err != nil {
		return Case{}, err
	}
	return parseCase(name, text)
}

func parseCase(file string, text []byte) (c Case, err error) {
	var members map[string]core.Raw
	if err := json.Unmarshal(text, &members); err != nil {
		return c, core.Refuse(core.Malformed, notCase(file, text))
	}
	if members["input"] == nil {
		c.Input = text
		return c, nil
	}
	if err := json.Unmarshal(text, &c, json.RejectUnknownMembers(true)); err != nil {
		return c, core.Refusef(core.Malformed, "case %s: %s", file, misfit(err)).WithHint(
			"a case has input, expect, config, kv, http and secrets; sdk/ABI.md, \"Cases\"")
	}
	return c, nil
}

// notCase says why a text is no case.
func notCase(file string, text []byte) string {
	if v := jsontext.Value(text); v.IsValid() {
		return fmt.Sprintf("case %s is JSON, but not an object", file)
	}
	return fmt.Sprintf("case %s is not valid JSON%s", file, plugin.Offending(text))
}

// misfit says what member of a case is wrong.
func misfit(err error) string {
	var s *json.SemanticError
	if !errors.As(err, &s) {
		return "not as a case is"
	}
	at := "at " + string(s.JSONPointer)
	if errors.Is(err, json.ErrUnknownName) {
		return "an unknown member " + at
	}
	return "a value of the wrong type " + at
}

// HookError says that nobody knows which hook a case is for.
type HookError struct{ Err error }

func (e *HookError) Error() string { return "which hook it is for: " + e.Err.Error() }

func (e *HookError) Unwrap() error { return e.Err }

// Hook is the one that is named or that the input names, or the only one that there is. It
// checks the input, and adds what the gateway always says. Its error is a *HookError, or of
// kind Malformed.
func (c *Case) Hook(m *plugin.Manifest, named string) (plugin.Hook, error) {
	hook, err := m.HookOf(named, c.Input)
	if err != nil {
		return "", &HookError{err}
	}
	if err := hooks.CheckInput(hook, c.Input); err != nil {
		return "", core.Refuse(core.Malformed, err.Error()).WithHint("sdk/ABI.md shows the input of each hook; \"ogp plugin new\" writes a case")
	}
	c.Input = hooks.Sized(c.Input)
	return hook, nil
}
