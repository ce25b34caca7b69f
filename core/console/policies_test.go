package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	pluginroom "github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// uploads is what the fake gateway was sent, and what it was asked.
type uploads struct {
	upload  api.UploadParams
	replay  api.ReplayParams
	install api.InstallParams
	rules   api.RulesParams
	slow    chan bool // a replay has begun; it was cancelled
}

// policies are a gateway's plugins and rules, all of them hostile.
func (f *fake) policies(got *uploads) control.Local {
	plugin := api.PluginView{Problems: []api.Problem{{State: "fail", Text: hostile, Fix: hostile}}}
	plugin.Name, plugin.Version, plugin.State, plugin.Source, plugin.Path, plugin.Error, plugin.LastFailure = "mine", hostile, "failed", "installed", "/x.wasm", hostile, hostile
	plugin.Pace = &pluginroom.Pace{Calls: 7, P50Micros: 3, P99Micros: 2000, Work: 5, MostWork: 9}
	plugin.Hours = []pluginroom.PaceHour{{From: time.Now().Add(-100 * time.Hour), Calls: 1}, {From: time.Now().Add(-time.Hour), Calls: 1, Work: 3}, {From: time.Now(), Calls: 6, Work: 5}}
	plugin.Missing, plugin.Intents, plugin.Calls, plugin.Refusals, plugin.Failures = []string{hostile}, []string{hostile}, 7, 3, 2
	asks := api.AsksView{Approves: true, Replies: true, KV: &api.KVAskView{MaxBytes: 100, Reason: hostile}, HTTP: []api.HTTPAskView{{URL: "https://a.example/", Reason: hostile}}}
	upload := api.UploadView{ID: "a1", Name: "mine", Version: hostile, Description: hostile, Author: hostile, Intents: []string{hostile}, Asks: asks, Needless: true}
	upload.Taken = &api.ErrorView{Message: hostile}
	upload.Cases.Failed = 1
	upload.Cases.Cases = []trial.CaseView{{Name: hostile, Differences: []string{hostile}, Error: hostile}}
	return control.Local{
		api.Plugins.Handle(func(context.Context, api.None) ([]api.PluginView, error) { return []api.PluginView{plugin}, nil }),
		api.Rules.Handle(func(context.Context, api.None) (api.RulesView, error) {
			return api.RulesView{File: "/x/config.toml", Text: "# " + hostile, Rules: 2}, nil
		}),
		api.RulesSet.Handle(func(_ context.Context, p api.RulesParams) (api.RulesView, error) {
			f.note("rules.set")
			got.rules = p
			return api.RulesView{File: "/x/config.toml", Rules: 1}, nil
		}),
		api.PluginReload.Handle(func(context.Context, api.PluginRef) ([]api.PluginView, error) {
			f.note("reload")
			return []api.PluginView{plugin}, nil
		}),
		api.PluginRemove.Handle(func(context.Context, api.PluginRef) (api.None, error) {
			f.note("remove-plugin")
			return api.None{}, nil
		}),
		api.PluginUpload.Handle(func(_ context.Context, p api.UploadParams) (api.UploadView, error) {
			f.note("upload")
			got.upload = p
			return upload, nil
		}),
		api.PluginUploaded.Handle(func(_ context.Context, p api.UploadRef) (api.UploadView, error) {
			if p.ID != upload.ID {
				return api.UploadView{}, core.Refuse(core.NotFound, "gone")
			}
			return upload, nil
		}),
		api.PluginDiscard.Handle(func(context.Context, api.UploadRef) (api.None, error) { f.note("discard"); return api.None{}, nil }),
		api.PluginInstall.Handle(func(_ context.Context, p api.InstallParams) (hooks.View, error) {
			f.note("install")
			got.install = p
			return hooks.View{Name: p.Name, State: "ready"}, nil
		}),
		api.PolicyReplay.Handle(func(ctx context.Context, p api.ReplayParams) (api.ReplayView, error) {
			f.note("replay")
			if strings.Contains(p.Rules, "slow") {
				got.slow <- true
				<-ctx.Done()
				got.slow <- true
				return api.ReplayView{}, ctx.Err()
			}
			if got.replay = p; strings.Contains(p.Rules, "bad") {
				return api.ReplayView{}, core.Refuse(core.Malformed, "rules:3: column 6: "+hostile)
			}
			v := api.ReplayView{Decisions: 300, Then: map[string]int{api.FateAllowed: 2}, Now: map[string]int{api.FateRefused: 2}}
			for i := range 30 {
				v.OverTime = append(v.OverTime, api.BucketView{From: time.Unix(int64(i)*60, 0), Then: map[string]int{api.FateAllowed: i}, Now: map[string]int{api.FateRefused: i}})
			}
			for range 300 {
				v.Changed = append(v.Changed, api.ChangedView{Count: 1, From: hostile, Intent: hostile, Then: api.FateAllowed, Now: api.FateRefused, Rule: hostile,
					Examples: []api.ExampleView{{ID: "01", Text: hostile, Reason: hostile}}})
			}
			return v, nil
		}),
	}
}

// send sends a form with files: pairs of names and texts, a file where the name is "field/file".
func (b *browser) send(path, token string, pairs ...string) (*http.Response, string) {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("token", token)
	for i := 0; i < len(pairs); i += 2 {
		field, file, isFile := strings.Cut(pairs[i], "/")
		part, _ := form.CreateFormField(field)
		if isFile {
			part, _ = form.CreateFormFile(field, file)
		}
		_, _ = io.WriteString(part, pairs[i+1])
	}
	_ = form.Close()
	r, err := http.NewRequest("POST", b.base+path, &body)
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := b.Do(r)
	if err != nil {
		return nil, err.Error() // the server has had enough of it
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp, string(text)
}

// openPolicies is a console before such a gateway.
func openPolicies(t *testing.T) (*fake, *browser, *uploads) {
	t.Helper()
	s, f, b := open(t)
	got := &uploads{slow: make(chan bool, 2)}
	s.o.Caller = append(f.handlers(), f.policies(got)...)
	b.enter(s)
	return f, b, got
}

// TestW2UploadsOfOurs: docs/threat-model.md#w2
func TestW2UploadsOfOurs(t *testing.T) {
	f, b, _ := openPolicies(t)
	for _, path := range []string{"/policies/upload", "/policies/machine"} {
		for _, token := range []string{"", "x", "A."} {
			if r, _ := b.send(path, token, "module/a.wasm", "x", "with", "now"); r.StatusCode != http.StatusForbidden {
				t.Errorf("%s with the token %q: %d", path, token, r.StatusCode)
			}
		}
		token := b.token()
		if r, _ := b.send(path, token, "module/a.wasm", "x", "with", "now"); r.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
		if r, _ := b.send(path, token, "module/a.wasm", "x", "with", "now"); r.StatusCode != http.StatusConflict {
			t.Errorf("%s again: %d", path, r.StatusCode)
		}
		if r, _ := b.do("POST", path, nil, nil); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s without a form: %d", path, r.StatusCode)
		}
	}
	if f.noted() != "upload replay" {
		t.Errorf("done: %s", f.noted())
	}
	// What is too large is refused, and nothing is done.
	if r, text := b.send("/policies/upload", b.token(), "module/a.wasm", strings.Repeat("x", maxSent)); r != nil && r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge upload: %d %s", r.StatusCode, text)
	}
	if r, _ := b.send("/policies/machine", b.token(), "rules", strings.Repeat("x", maxBody+1), "with", "rules"); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge field: %d", r.StatusCode)
	}
	many := []string{}
	for i := range maxParts {
		many = append(many, fmt.Sprintf("cases/%d.json", i), "{}")
	}
	if r, _ := b.send("/policies/upload", b.token(), many...); r.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("many files: %d", r.StatusCode)
	}
	if r, _ := b.send("/policies/upload", b.token(), "manifest/plugin.toml", ""); r.StatusCode != http.StatusBadRequest {
		t.Errorf("no module: %d", r.StatusCode)
	}
	if f.noted() != "upload replay" {
		t.Errorf("done: %s", f.noted())
	}
}

// TestW2PoliciesWords: docs/threat-model.md#w2
func TestW2PoliciesWords(t *testing.T) {
	f, b, got := openPolicies(t)
	r, _ := b.send("/policies/machine", b.token(), "with", "rules", "rules", "# "+hostile+"\r\n[[rules]]\r\n", "window", "7d")
	result := r.Header.Get("Location")
	if got.replay.Rules != "# "+hostile+"\n[[rules]]\n" || time.Since(got.replay.Since) < 7*24*time.Hour || time.Since(got.replay.Since) > 7*24*time.Hour+time.Minute {
		t.Errorf("asked with %+v", got.replay)
	}
	wrong := ""
	if r, wrong = b.send("/policies/machine", b.token(), "with", "rules", "rules", "bad "+hostile, "window", "7d"); r.StatusCode != http.StatusBadRequest || !strings.Contains(wrong, "column 6") || !strings.Contains(wrong, "bad &lt;/pre&gt;") {
		t.Errorf("rules with a mistake: %d %s", r.StatusCode, wrong)
	}
	pages := map[string]string{"wrong rules": wrong}
	for _, path := range []string{"/policies", "/policies/uploads/a1", "/policies/machine", "/policies/machine?upload=a1", "/policies/machine?again=" + strings.TrimPrefix(result, "/policies/machine/"), result} {
		r, text := b.get(path)
		if pages[path] = text; r.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, r.StatusCode, text)
		}
	}
	for path, text := range pages {
		for _, bad := range []string{"<script>alert", "<img src=x", `"'><`, "ZgotmplZ", " style=", "<style", "<no value>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q in it", path, bad)
			}
		}
		if area := strings.Index(text, "<textarea"); area < 0 && (strings.Contains(text, "\u202e") || strings.Contains(text, "\u200b")) {
			t.Errorf("%s has invisible characters in it", path)
		}
	}
	if text := pages["/policies"]; strings.Count(text, `<rect class="hour"`) != 2 || !strings.Contains(text, "5 units of work a call") {
		t.Errorf("the hours of a plugin: %s", text)
	}
	if text := pages[result]; strings.Count(text, "<rect class=\"fate") != 58 || !strings.Contains(text, "and 100 more") {
		t.Errorf("the picture has %d bars", strings.Count(text, "<rect"))
	}
	for _, path := range []string{"/policies/uploads/zz", "/policies/machine/zz"} {
		if r, _ := b.get(path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
	if f.noted() != "replay replay" {
		t.Errorf("done: %s", f.noted())
	}
}

// A power over others is granted by hand, and nothing that was not ticked.
func TestInstallingWhatIsTicked(t *testing.T) {
	f, b, got := openPolicies(t)
	_, text := b.get("/policies/uploads/a1")
	for key, ticked := range map[string]bool{"approves": false, "replies": false, "kv": true, "http-0": true} {
		if !strings.Contains(text, `name="grant" value="`+key+`"`) || strings.Contains(text, `name="grant" value="`+key+`" checked`) != ticked {
			t.Errorf("%s: want it ticked: %v", key, ticked)
		}
	}
	act := func(path string, want int, pairs ...string) {
		t.Helper()
		form := map[string][]string{"token": {b.token()}}
		for i := 0; i < len(pairs); i += 2 {
			form[pairs[i]] = append(form[pairs[i]], pairs[i+1])
		}
		if r, text := b.post(path, form); r.StatusCode != want {
			t.Errorf("%s %v: %d, want %d: %s", path, pairs, r.StatusCode, want, text)
		}
	}
	act("/policies/uploads/a1/install", http.StatusBadRequest, "name", "mine", "order", "first")
	act("/policies/uploads/zz/install", http.StatusNotFound, "name", "mine", "order", "1")
	act("/policies/uploads/a1/nothing", http.StatusNotFound)
	act("/policies/uploads/a1/install", http.StatusSeeOther, "name", "mine", "order", "5", "grant", "kv", "grant", "http-7", "grant", hostile)
	if g := got.install.Grants; g.Approves || g.Replies || len(g.HTTP) > 0 || len(g.KV) != 1 || got.install.Order != 5 || got.install.Upload != "a1" || got.install.NoCases || got.install.Source != "" {
		t.Errorf("installed with %+v", got.install)
	}
	act("/policies/uploads/a1/install", http.StatusSeeOther, "name", "mine", "order", "5", "grant", "approves", "nocases", "yes")
	if g := got.install.Grants; !g.Approves || len(g.KV) > 0 || !got.install.NoCases {
		t.Errorf("installed with %+v", got.install)
	}
	act("/policies/uploads/a1/discard", http.StatusSeeOther)
	act("/policies/plugins/mine/remove", http.StatusForbidden, "value", "min")
	act("/policies/plugins/mine/remove", http.StatusSeeOther, "value", "mine")
	act("/policies/plugins/mine/reload", http.StatusSeeOther)
	act("/policies/plugins/mine/nothing", http.StatusNotFound)
	if f.noted() != "install install discard remove-plugin reload" {
		t.Errorf("done: %s", f.noted())
	}
}

// A replay ends when whoever asked goes away.
func TestReplayIsCancelled(t *testing.T) {
	_, b, got := openPolicies(t)
	token := b.token()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	body := "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n" + token + "\r\n--x\r\nContent-Disposition: form-data; name=\"with\"\r\n\r\nrules\r\n" +
		"--x\r\nContent-Disposition: form-data; name=\"rules\"\r\n\r\nslow\r\n--x--\r\n"
	r, err := http.NewRequestWithContext(ctx, "POST", b.base+"/policies/machine", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := b.Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	<-got.slow
	if r, _ := b.send("/policies/machine", b.token(), "with", "now"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("another form meanwhile: %d", r.StatusCode)
	}
	stop()
	select {
	case <-got.slow:
	case <-time.After(60 * time.Second):
		t.Error("it goes on without its browser")
	}
	<-done
}

// TestFormsWithFilesWait: where as many are worked on as may be, another waits for its turn, and
// one that stalls is given up.
func TestFormsWithFilesWait(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(f.handlers(), f.policies(&uploads{slow: make(chan bool, 2)})...)
	s.patience, s.stalls = 50*time.Millisecond, 100*time.Millisecond
	b.enter(s)
	for range maxSends {
		s.sending <- struct{}{}
	}
	if r, _ := b.send("/policies/machine", b.token(), "with", "now"); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("with no place left: %d", r.StatusCode)
	}
	s.patience = 20 * time.Second
	go func() {
		time.Sleep(20 * time.Millisecond)
		<-s.sending
	}()
	if r, _ := b.send("/policies/machine", b.token(), "with", "now"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("after another one: %d", r.StatusCode)
	}
	half, end := io.Pipe()
	defer end.Close()
	go fmt.Fprintf(end, "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n%s\r\n--x\r\nContent-Disposition: form-data; name=\"rules\"\r\n\r\nhalf", b.token())
	began := time.Now()
	r, _ := http.NewRequest("POST", b.base+"/policies/machine", half)
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	if resp, err := b.Do(r); err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			body, _ := io.ReadAll(resp.Body)
			t.Errorf("one that stalls: %d %s", resp.StatusCode, body)
		}
	}
	if took := time.Since(began); took > 10*time.Second || len(s.sending) != maxSends-1 {
		t.Errorf("one that stalls has its place for %s; %d are taken", took, len(s.sending))
	}
}

// From a pasted rule to the configuration file, and from a module to its installation.
func TestTimeMachine(t *testing.T) {
	f, b, got := openPolicies(t)
	r, _ := b.send("/policies/machine", b.token(), "with", "rules", "rules", "[[rules]]\r\n", "window", "all")
	if !got.replay.Since.IsZero() {
		t.Errorf("all that is on record is since %s", got.replay.Since)
	}
	if r, text := b.post(r.Header.Get("Location")+"/install", map[string][]string{"token": {b.token()}}); r.StatusCode != http.StatusSeeOther || got.rules.Text != "[[rules]]\n" {
		t.Errorf("put in force: %d %q %s", r.StatusCode, got.rules.Text, text)
	}
	r, _ = b.send("/policies/machine", b.token(), "with", "module", "module/a.wasm", "wasm", "manifest/plugin.toml", "name", "window", "24h")
	if string(got.upload.Module) != "wasm" || got.upload.Manifest != "name" || got.replay.Upload != "a1" || got.replay.Rules != "" {
		t.Errorf("asked with %+v", got.replay)
	}
	at := r.Header.Get("Location")
	if _, text := b.get(at); !strings.Contains(text, `href="/policies/uploads/a1"`) {
		t.Errorf("no way to install it in %s", text)
	}
	if r, _ := b.post(at+"/install", map[string][]string{"token": {b.token()}}); r.StatusCode != http.StatusBadRequest {
		t.Errorf("rules of a module: %d", r.StatusCode)
	}
	if r, _ := b.send("/policies/machine", b.token(), "with", "module", "upload", "a1", "window", "24h"); r.StatusCode != http.StatusSeeOther {
		t.Errorf("with one that was uploaded: %d", r.StatusCode)
	}
	if r, _ := b.send("/policies/machine", b.token(), "with", "nothing"); r.StatusCode != http.StatusBadRequest {
		t.Errorf("with nothing: %d", r.StatusCode)
	}
	if f.noted() != "replay rules.set upload replay replay" {
		t.Errorf("done: %s", f.noted())
	}
	for range 2 * maxReplays {
		b.send("/policies/machine", b.token(), "with", "now")
	}
	if r, _ := b.get(at); r.StatusCode != http.StatusNotFound {
		t.Errorf("an old one: %d", r.StatusCode)
	}
	if err := errReplayGone(); !errors.Is(err, core.NotFound) {
		t.Error(err)
	}
}

// A file with a mistake hides neither the plugins nor what came of a replay.
func TestPoliciesWithABrokenFile(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = append(control.Local{api.Rules.Handle(func(context.Context, api.None) (api.RulesView, error) {
		return api.RulesView{}, core.Refuse(core.Malformed, "line 3 is no TOML")
	})}, append(f.handlers(), f.policies(&uploads{})...)...)
	b.enter(s)
	r, _ := b.send("/policies/machine", b.token(), "with", "rules", "rules", "[[rules]]", "window", "7d")
	for _, path := range []string{"/policies", "/policies/machine", r.Header.Get("Location")} {
		if r, text := b.get(path); r.StatusCode != http.StatusOK || !strings.Contains(text, "line 3 is no TOML") {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}
