package sdk_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/sdk"
)

func buildServices(t *testing.T) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "services.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-buildvcs=false", "-o", to, "./testdata/services")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// The SDK and the real host agree on every service.
func TestServicesOnTheHost(t *testing.T) {
	wasm := buildServices(t)
	var auth, sig, body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		auth, sig, body = r.Header.Get("Authorization"), r.Header.Get("X-Hub-Signature-256"), r.Method+" "+r.URL.String()+" "+string(b)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(418)
		_, _ = io.WriteString(w, "té")
	}))
	defer srv.Close()
	var logs bytes.Buffer
	h, err := plugin.NewHost(plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	spec := plugin.Spec{
		Bytes: wasm, Manifest: &plugin.Manifest{Name: "services", Hooks: []plugin.Hook{plugin.Handle}},
		Config: []byte(new(sdk.Object).Text("url", srv.URL).JSON()), KV: &plugin.MemoryKV{},
		Grants:  plugin.Grants{KV: []string{"kv.*"}, HTTP: []plugin.HTTPGrant{{URL: srv.URL + "/", Private: true, Secrets: []string{"t"}}}},
		Secrets: func(name string) (string, bool) { return "s3cret", name == "t" || name == "other" },
		Logger:  slog.New(slog.NewTextHandler(&logs, nil)),
	}
	p, err := h.Load(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Call(context.Background(), plugin.Handle, []byte(`{"message":{"intent":"try"}}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := sdk.Parse(string(r.Output))
	if err != nil {
		t.Fatal(err)
	}
	got := answer.Get("data")
	for name, want := range map[string]string{
		"set": "", "get": "two \"é\"\n true", "list": "2", "delete": "", "gone": "true", "has": "true", "hasOther": "false",
		"rand": "8", "http": "418 yes té", "attribute": "try",
	} {
		if got.Get(name).Text() != want {
			t.Errorf("%s = %q, want %q", name, got.Get(name).Text(), want)
		}
	}
	for name, want := range map[string]string{
		"future": "error: future.op: unknown to this host", "elsewhere": "error: http.request: not granted",
	} {
		if !strings.HasPrefix(got.Get(name).Text(), want) {
			t.Errorf("%s = %q, want %q", name, got.Get(name).Text(), want)
		}
	}
	if _, ok := sdk.ParseTime(got.Get("now").Text()); !ok || got.Get("now").Text() < "2020" {
		t.Errorf("now = %q", got.Get("now").Text())
	}
	if keys := got.Get("keys").Texts(); len(keys) != 2 || keys[0] != "day/1" {
		t.Errorf("keys = %q, want them sorted", keys)
	}
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte("the body é"))
	if auth != "Bearer s3cret" || body != "PUT /x?y=z the body é" || sig != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("request = %q %q %q", auth, body, sig)
	}
	if !strings.Contains(logs.String(), "a line from the guest") {
		t.Errorf("log = %s", logs.String())
	}
	if _, err = p.Call(context.Background(), plugin.Handle, []byte(`{"message":{"intent":"panic","id":"7"}}`)); err == nil || !strings.Contains(err.Error(), "boom 7") {
		t.Errorf("panic = %v, want its text", err)
	}
	if r, err = p.Call(context.Background(), plugin.Handle, []byte(`{"message":{"intent":"try"}}`)); err != nil || len(r.Output) == 0 {
		t.Errorf("after a panic: %v", err)
	}
	spec.Config = []byte(`{"refuse":true}`)
	if _, err := h.Load(context.Background(), spec); err == nil || !strings.Contains(err.Error(), "told to refuse") {
		t.Errorf("Load = %v, want the plugin's reason", err)
	}
}
