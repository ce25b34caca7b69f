package rendezvous_test

import (
	"crypto/rand"
	"log/slog"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"github.com/opengatewayprotocol/ogp/core/rendezvous"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/rendezvoustest"
	"github.com/opengatewayprotocol/ogp/core/rendezvous/valkey"
)

// The suite on a double of the engine, in this process.
func TestSuiteValkeyDouble(t *testing.T) {
	engine := miniredis.RunT(t)
	suite(t, "valkey://"+engine.Addr()+"/0")
}

// The suite on the engine itself.
func TestSuiteValkey(t *testing.T) {
	suite(t, "valkey://"+rendezvoustest.NewEngine(t).Addr()+"/0")
}

func suite(t *testing.T, at string) {
	rendezvous.OpenStore = func(t testing.TB, o rendezvous.ServerOptions) rendezvous.Store {
		t.Helper()
		address, err := valkey.ParseURL(at + "?prefix=" + rand.Text() + ":")
		if err != nil {
			t.Fatal(err)
		}
		s, err := valkey.Open(t.Context(), valkey.Options{At: address, Limits: o.Limits(), Now: o.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	defer func() { rendezvous.OpenStore = nil }()
	for _, test := range rendezvous.Suite {
		t.Run(test.Name, test.Run)
	}
}
