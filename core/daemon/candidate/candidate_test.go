package candidate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/replay"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

func TestMain(m *testing.M) {
	plugin.CompileChildMain()
	os.Exit(m.Run())
}

func newService(t *testing.T, change func(o *Options)) *Service {
	t.Helper()
	dir, c := t.TempDir(), config.Default()
	o := Options{Dir: dir, Config: config.Options{Env: []string{}}, InForce: func() *config.Config { return &c },
		Installed:  func(context.Context) ([]hooks.Installed, error) { return nil, nil },
		MayInstall: func(string) error { return nil }}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func example(t *testing.T, name string) (module []byte, manifest string) {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "examples", "plugins", name)
	module, err := os.ReadFile(filepath.Join(dir, name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "plugin.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return module, string(text)
}

// saying is a module that gives one answer, of at most 63 bytes, to every request.
func saying(answer string) []byte {
	name := func(s string) string { return string(rune(len(s))) + s }
	exports := "\x02" + name("memory") + "\x02\x00" + name("ogp_request") + "\x00\x01"
	return []byte("\x00asm\x01\x00\x00\x00" + "\x01\x0b\x02\x60\x02\x7f\x7f\x00\x60\x01\x7f\x01\x7f" + "\x02\x10\x01\x06ogp_v1\x05write\x00\x00" +
		"\x03\x02\x01\x01" + "\x05\x03\x01\x00\x01" + "\x07" + name(exports) +
		"\x0a\x0c\x01\x0a\x00\x41\x00\x41" + string(rune(len(answer))) + "\x10\x00\x41\x00\x0b" +
		"\x0b" + string(rune(6+len(answer))) + "\x01\x00\x41\x00\x0b" + name(answer))
}

// What is uploaded is shown with what it asks for against what is granted, its cases are run,
// and nothing of it is left once it is installed or given up, also after a crash.
func TestUpload(t *testing.T) {
	module, manifest := saying(`{"decision":"abstain"}`), "name = \"domains\"\nversion = \"2\"\nabi = \"ogp_v1\"\nhooks = [\"request\"]\napproves = true\n"
	var installed []hooks.Installed
	s := newService(t, func(o *Options) {
		o.Installed = func(context.Context) ([]hooks.Installed, error) { return installed, nil }
	})
	v, err := s.Upload(t.Context(), api.UploadParams{Module: module, Manifest: manifest, Cases: map[string]string{
		"fails.json":  `{"input":{"abi":1,"hook":"request","request":{}},"expect":{"decision":"no such"}}`,
		"broken.json": `{`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if v.Name != "domains" || v.Error != nil || !v.Asks.Approves || !v.Difference.New || v.Now != nil || v.Cases.Failed != 2 || v.Taken != nil {
		t.Errorf("Upload = %+v", v)
	}
	if g := v.Asks.Pick(nil); g.Approves || len(g.KV) > 0 {
		t.Errorf("nothing picked grants %+v", g)
	}
	if g := v.Asks.Pick([]string{api.AskApproves, api.AskReplies, "http-0", "kv"}); !g.Approves || g.Replies || len(g.HTTP) > 0 {
		t.Errorf("all picked grants %+v", g)
	}
	if _, err := s.Install(api.InstallParams{Upload: v.ID}); !errors.Is(err, core.Malformed) || !strings.Contains(err.Error(), "2 of its 2 cases fail") {
		t.Errorf("cases that fail: %v", err)
	}
	p, err := s.Install(api.InstallParams{Upload: v.ID, NoCases: true, Source: "/etc/passwd"})
	if err != nil || p.Digest != v.ID || !strings.HasPrefix(p.Source, s.o.Dir) {
		t.Fatalf("Install = %+v, %v", p, err)
	}
	if info, err := os.Stat(filepath.Join(p.Source, "module.wasm")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the module: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(p.Source); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder: %v, %v", info.Mode(), err)
	}
	installed = []hooks.Installed{{Name: v.Name, SHA256: v.SHA256, Grants: plugin.Grants{KV: []string{"kv.get"}}}}
	if v, err = s.Uploaded(t.Context(), api.UploadRef{ID: v.ID}); err != nil || v.Now == nil || v.Difference.Module || len(v.Difference.Wider) == 0 || len(v.Difference.Narrower) == 0 || v.Cases.Failed != 2 {
		t.Errorf("Uploaded = %+v, %v", v, err)
	}
	s.Installed(p)
	if _, err := s.Uploaded(t.Context(), api.UploadRef{ID: v.ID}); !errors.Is(err, core.NotFound) {
		t.Errorf("after it is installed: %v, want NotFound", err)
	}
	if v, err = s.Upload(t.Context(), api.UploadParams{Module: module, Manifest: manifest}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(s.o); err != nil { // the daemon has crashed, and starts again
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(s.o.Dir, uploadsDir)); err == nil {
		t.Errorf("left after a crash: %v", left)
	}
	s.Prune(time.Now().Add(2 * time.Hour))
	if _, err := s.Uploaded(t.Context(), api.UploadRef{ID: v.ID}); !errors.Is(err, core.NotFound) {
		t.Errorf("after hours: %v, want NotFound", err)
	}
}

// Hostile uploads are refused, and leave nothing.
func TestHostileUploads(t *testing.T) {
	module, manifest := example(t, "topic-allowlist")
	s := newService(t, func(o *Options) {
		o.MayInstall = func(name string) error { return core.Refusef(core.Conflict, "%q is taken", name) }
	})
	cases := func(n int, size int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[strings.Repeat("a", i+1)+".json"] = strings.Repeat("x", size)
		}
		return out
	}
	for want, p := range map[string]api.UploadParams{
		"no module":                {Manifest: manifest},
		"not a WebAssembly module": {Module: []byte(strings.Repeat("<script>alert(1)</script>", 100))},
		"at most 16777216":         {Module: make([]byte, 16<<20+1)},
		"at most 262144":           {Module: module, Manifest: strings.Repeat("#", 256<<10+1)},
		"101 cases": {Module: module, Cases: func() map[string]string {
			m := cases(95, 1)
			for _, x := range "bcdefg" {
				m[string(x)+".json"] = ""
			}
			return m
		}()},
		"at most 100 of 1048576":   {Module: module, Cases: cases(2, 600<<10)},
		"a case is named \"../":    {Module: module, Cases: map[string]string{"../../config.json": "{}"}},
		"a case is named \"a/":     {Module: module, Cases: map[string]string{"a/b.json": "{}"}},
		"a case is named \".":      {Module: module, Cases: map[string]string{".json": "{}"}},
		"a case is named \"x\\n":   {Module: module, Cases: map[string]string{"x\n.json": "{}"}},
		"a case is named \"plugin": {Module: module, Cases: map[string]string{"plugin.toml": "{}"}},
		"name":                     {Module: module, Manifest: "name = \"../../x\"\nhooks = [\"request\"]"},
	} {
		v, err := s.Upload(t.Context(), p)
		var e *core.Error
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), s.o.Dir) || !errors.As(err, &e) {
			t.Errorf("Upload = %+v, %v, want an error of the caller's with %q", v.Name, err, want)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(s.o.Dir, uploadsDir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	v, err := s.Upload(t.Context(), api.UploadParams{Module: module, Manifest: manifest})
	if err != nil || v.Taken == nil || !strings.Contains(v.Taken.Message, "is taken") {
		t.Errorf("a name that is taken: %+v, %v", v.Taken, err)
	}
	for _, id := range []string{"", "..", v.ID[:63], v.ID + "0", "../../../../../../etc"} {
		if _, err := s.Uploaded(t.Context(), api.UploadRef{ID: id}); !errors.Is(err, core.NotFound) {
			t.Errorf("an id that is none, %q: %v", id, err)
		}
		if _, err := s.Discard(t.Context(), api.UploadRef{ID: id}); err != nil {
			t.Error(err)
		}
	}
	done, err := s.one()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Upload(t.Context(), api.UploadParams{Module: module}); !errors.Is(err, core.Unavailable) {
		t.Errorf("two at once: %v, want Unavailable", err)
	}
	if _, err := s.Replay(t.Context(), api.ReplayParams{}); !errors.Is(err, core.Unavailable) {
		t.Errorf("a replay at once: %v, want Unavailable", err)
	}
	done()
	// A replay of what was uploaded asks that module.
	var with replay.Candidate
	s.o.Past = func(context.Context) (replay.Past, error) { return replay.Past{}, nil }
	s.o.Panel = func(_ context.Context, _ []hooks.Installed, c replay.Candidate, _ int) (*hooks.Manager, error) {
		with = c
		return nil, errors.New("enough")
	}
	if _, err := s.Replay(t.Context(), api.ReplayParams{Candidate: api.Candidate{Upload: v.ID}}); err == nil || err.Error() != "enough" || with.Files == nil || len(with.Files.Wasm) != len(module) {
		t.Errorf("a replay of an upload: %v, %+v", err, with.Files)
	}
	if _, err := s.Discard(t.Context(), api.UploadRef{ID: v.ID}); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(s.o.Dir, uploadsDir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Only the last uploads are kept.
func TestUploadsAreFew(t *testing.T) {
	s := newService(t, nil)
	for i := range 10 {
		if _, err := s.uploads.Put(uploadOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(s.o.Dir, uploadsDir)); len(left) != 4 {
		t.Errorf("%d uploads are kept, want 4", len(left))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.o.Dir, uploadsDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
}

// Rules come into force, or the file is as it was.
func TestSetRules(t *testing.T) {
	const before = "# mine\nemail = \"a@b\"\n"
	const rule = "[[rules]]\r\nname = \"a\"\r\nwhen = 'true'\r\nthen = \"hold\"\r\n" // as a form sends it
	inForce, fails := 0, error(nil)
	s := newService(t, func(o *Options) {
		o.Rules = func() int { return inForce }
		o.Reload = func(context.Context) error {
			text, err := os.ReadFile(filepath.Join(o.Dir, config.FileName))
			if err == nil && fails == nil {
				inForce = strings.Count(string(text), "[[rules]]")
			}
			return errors.Join(err, fails)
		}
	})
	path := filepath.Join(s.o.Dir, config.FileName)
	if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	has := func(want string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("config.toml is %q, %v, want %q", got, err, want)
		}
	}
	for want, text := range map[string]string{
		"rules:3: rule \"a\": when: column 5: unknown name \"mesage": strings.Replace(rule, "true", "1 < mesage.bytes", 1),
		"may approve":             strings.Replace(rule, "hold", "approve", 1),
		"\"email\" is not a rule": "email = \"x\"\n" + rule,
		"no valid TOML":           "[[rules",
	} {
		if _, err := s.SetRules(t.Context(), api.RulesParams{Text: text}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("SetRules(%q) = %v, want %q", text, err, want)
		}
		has(before)
	}
	if _, err := s.SetRules(t.Context(), api.RulesParams{Text: rule, Check: true}); err != nil {
		t.Error(err)
	}
	has(before)
	fails = errors.New("it does not")
	if _, err := s.SetRules(t.Context(), api.RulesParams{Text: rule}); err == nil || !strings.Contains(err.Error(), "it does not") {
		t.Errorf("a reload that fails: %v", err)
	}
	has(before)
	fails = nil
	v, err := s.SetRules(t.Context(), api.RulesParams{Text: rule})
	if err != nil || v.Rules != 1 || v.Text != strings.ReplaceAll(rule, "\r\n", "\n") || v.File != path {
		t.Errorf("SetRules = %+v, %v", v, err)
	}
	has(before + "\n" + strings.ReplaceAll(rule, "\r\n", "\n"))
}

func uploadOf(i int) trial.Upload { return trial.Upload{Module: []byte{byte(i)}} }
