package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// pastDaemon is a daemon that has refused a message, and has no more than that.
func pastDaemon(t *testing.T) *Daemon {
	t.Helper()
	c := config.Default()
	d := &Daemon{dir: t.TempDir(), store: memory.New(), log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	d.current.Store(&loadedConfig{Config: &c})
	if err := d.openRecord(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := d.openCandidates(); err != nil {
		t.Fatal(err)
	}
	d.record.Set(record.Settings{Keep: time.Hour, Payloads: true})
	var change core.Change
	q := someQuestion()
	q.Now = time.Now()
	d.record.Decided(&change, q, core.Verdict{Decision: core.Deny, Policy: "gone"}, "")
	if err := d.store.Commit(t.Context(), &change); err != nil {
		t.Fatal(err)
	}
	return d
}

// The time machine runs in the daemon: one at a time, and no longer than its caller waits.
func TestPolicyReplay(t *testing.T) {
	d := pastDaemon(t)
	p := api.ReplayParams{Candidate: api.Candidate{Rules: "[[rules]]\nname = \"all wait\"\nwhen = 'true'\nthen = \"hold\"\n"}}
	v, err := d.candidates.Replay(t.Context(), p)
	if err != nil || v.Decisions != 1 || len(v.Changed) != 1 || v.Changed[0].Then != api.FateRefused || v.Changed[0].Now != api.FateHeld || v.With != "rules" {
		t.Fatalf("policyReplay = %+v, %v", v, err)
	}
	if v.Policies[0].Policy != "rules" || v.Policies[0].Calls != 1 {
		t.Errorf("paces %+v", v.Policies)
	}
	if v, err = d.candidates.Replay(t.Context(), api.ReplayParams{Since: time.Now().Add(time.Minute)}); err != nil || v.Decisions != 0 {
		t.Errorf("of what is to come: %+v, %v", v, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := d.candidates.Replay(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := d.candidates.Replay(t.Context(), p); err != nil {
		t.Errorf("after one that was cancelled: %v", err)
	}
}
