package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/coretest"
	"github.com/opengatewayprotocol/ogp/core/gateway"
)

// A token that is changed in OpenClaw's own file is in force without a restart, also
// when OpenClaw takes it up after us, and although the next pause would be long.
func TestOpenClawChangesItsToken(t *testing.T) {
	var (
		accepts atomic.Value // the token
		refused atomic.Int32 // calls with the new one, before it counts
		told    atomic.Int32
	)
	accepts.Store("old-token-of-openclaw")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token != accepts.Load() {
			if token == "new-token-of-openclaw" && refused.Add(1) == 1 {
				time.AfterFunc(time.Second, func() { accepts.Store(token) })
			}
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		told.Add(1)
		fmt.Fprint(w, `{"ok":true,"runId":"1"}`)
	}))
	defer server.Close()
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "openclaw.json")
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(`{hooks: {enabled: true, token: "`+token+`"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong-token-of-openclaw")
	s.env = append(s.env, "OGP_OPENCLAW_URL="+server.URL, "OPENCLAW_CONFIG_PATH="+file, "OGP_DELIVERY_FIRST_RETRY=10m", "OGP_DELIVERY_MAX_RETRY=10m")
	self := s.start()
	peer := coretest.New(t)
	if _, err := peer.RequestFederation(t.Context(), gateway.Ask{URL: self.GatewayURL, Expect: self.PublicKey}); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool {
		var v api.StatusView
		if err := control.Dial(control.Path(s.dir)).Call(t.Context(), "status", nil, &v); err != nil {
			t.Fatal(err)
		}
		for _, n := range v.Notifiers {
			if n.Name == "openclaw" && n.SetUp {
				return true
			}
		}
		return false
	})
	write("new-token-of-openclaw")
	s.until(func() bool { return told.Load() > 0 })
	if refused.Load() == 0 {
		t.Error("the new token was never refused: the test shows nothing")
	}
}
