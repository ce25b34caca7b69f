package hooks_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// A plugin that could not be loaded for want of descriptors is loaded when there are
// some again, without anybody's doing. docs/threat-model.md#d3
func TestD3LoadsAgainWhatPasses(t *testing.T) {
	wasm, err := os.ReadFile(filepath.Join(examples, "topic-allowlist", "topic-allowlist.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	m := newManager(t, hooks.Options{})
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 3, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	err = m.Apply([]hooks.Wanted{{Source: hooks.FromConfig, Spec: plugin.Spec{Name: "x", Bytes: wasm, Config: []byte(`{"topics":["general"]}`)}}})
	ready := m.Ready(t.Context())
	_, pending := m.Plugins()
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err != nil || ready != nil {
		t.Fatalf("Apply = %v, Ready = %v", err, ready)
	}
	if !errors.Is(pending, core.Unavailable) {
		t.Fatalf("without descriptors: Plugins = %v, want Unavailable", pending)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, err := m.Plugins()
		if err == nil && len(got.Policies) == 1 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Plugins = %v, %v: it was not tried again", got, err)
		}
	}
}
