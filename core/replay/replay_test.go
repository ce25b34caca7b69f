package replay_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/replay"
)

var began = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// came is a message that came after some hours, and what was decided about it.
func came(hours int, alias, text string, v core.Decision) api.DecisionView {
	return api.DecisionView{Decision: record.Decision{ID: fmt.Sprintf("%026d", hours), At: began.Add(time.Duration(hours) * time.Hour), Kind: core.HookMessage, Peer: core.PublicKey{1},
		Then: record.Peer{Alias: alias, Trust: core.Approved}, Message: &core.Message{Intent: "message", Nonce: core.Nonce(fmt.Sprint(hours)), Payload: core.Raw(fmt.Sprintf(`{"text":%q}`, text))}, Verdict: v}}
}

// asked puts a text of rules to what came.
func asked(t *testing.T, ctx context.Context, rules string, maxBytes int, pages ...[]api.DecisionView) (api.ReplayView, error) {
	t.Helper()
	with, err := replay.Of(api.Candidate{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Policy.Rules.Approves = true
	panel, err := replay.Panel(t.Context(), replay.Gateway{Config: &c}, with, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer panel.Close()
	ask := replay.Ask{Workers: 2, MaxBytes: maxBytes, Page: func(_ context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
		n := 0
		fmt.Sscan(p.Before, &n)
		page := api.DecisionsPage{Decisions: pages[n]}
		if n+1 < len(pages) {
			page.Next = fmt.Sprint(n + 1)
		}
		return page, ctx.Err()
	}}
	return ask.Run(ctx, panel)
}

const noSecrets = "[[rules]]\nname = \"no secrets\"\nwhen = 'message.text.contains(\"secret\")'\nthen = \"deny\"\nreason = \"hush\"\n"

func TestReplay(t *testing.T) {
	newest := []api.DecisionView{came(100, "alice", "a secret", core.Abstain), came(99, "alice", "secret, too", core.Abstain), came(98, "bob", "a secret of mine", core.Deny)}
	older := []api.DecisionView{came(2, "alice", "hello", core.Hold), came(0, "alice", "hi", core.Abstain)}
	v, err := asked(t, t.Context(), noSecrets, 1<<20, newest, older)
	if err != nil {
		t.Fatal(err)
	}
	if v.Decisions != 5 || v.Same != 2 || v.LeftOut || v.Then[api.FateAllowed] != 3 || v.Now[api.FateRefused] != 3 || v.Now[api.FateAllowed] != 2 {
		t.Errorf("counts %+v", v)
	}
	if len(v.Changed) != 2 {
		t.Fatalf("changed %+v", v.Changed)
	}
	c := v.Changed[0]
	if c.Count != 2 || c.From != "alice" || c.Then != api.FateAllowed || c.Now != api.FateRefused || c.Rule != "no secrets" || len(c.Examples) != 2 || c.Examples[0].Reason != "hush" || c.Examples[0].Text != "secret, too" {
		t.Errorf("those with most first: %+v", c)
	}
	if c := v.Changed[1]; c.Count != 1 || c.Then != api.FateHeld || c.Now != api.FateAllowed {
		t.Errorf("what was held: %+v", c)
	}
	// From 3 in the morning on, 103 hours are 35 pieces of three.
	if n := len(v.OverTime); n != 35 {
		t.Fatalf("%d pieces of the window", n)
	}
	total := 0
	for i, b := range v.OverTime {
		if want := began.Truncate(3 * time.Hour).Add(time.Duration(i) * 3 * time.Hour); !b.From.Equal(want) {
			t.Errorf("piece %d is from %s, want %s", i, b.From, want)
		}
		for _, n := range b.Now {
			total += n
		}
	}
	if b := v.OverTime[33]; total != 5 || b.Then[api.FateAllowed] != 1 || b.Then[api.FateRefused] != 1 || b.Now[api.FateRefused] != 2 {
		t.Errorf("over time: %d in all, %+v", total, b)
	}

	if v, err = asked(t, t.Context(), noSecrets, 1, newest, older); err != nil || !v.LeftOut || v.Decisions != 3 {
		t.Errorf("with room for one: %+v, %v", v, err)
	}
	if v, err = asked(t, t.Context(), noSecrets, 1, nil); err != nil || v.OverTime == nil || v.Decisions != 0 {
		t.Errorf("of nothing: %+v, %v", v, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := asked(t, ctx, noSecrets, 1<<20, newest); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The window is cut into a number of pieces that a picture has room for, however long it is.
func TestPiecesOfTheWindow(t *testing.T) {
	for hours, want := range map[int]int{0: 1, 1: 13, 48: 49, 24 * 30: 31, 24 * 365: 53, 24 * 365 * 20: 33} {
		v, err := asked(t, t.Context(), noSecrets, 1<<20, []api.DecisionView{came(hours, "a", "x", core.Abstain), came(0, "a", "x", core.Abstain)})
		if n := len(v.OverTime); err != nil || n > 60 || n != want {
			t.Errorf("%d hours are %d pieces, %v, want %d", hours, n, err, want)
		}
	}
}

// What a candidate's text does not say of policies is as the gateway has it, and a mistake
// is named with its line and column.
func TestCandidates(t *testing.T) {
	c := config.Default()
	c.Policy.Rules.Approves = true
	panel := func(with api.Candidate) error {
		t.Helper()
		one, err := replay.Of(with)
		if err != nil {
			return err
		}
		m, err := replay.Panel(t.Context(), replay.Gateway{Config: &c}, one, 1)
		if err == nil {
			m.Close()
		}
		return err
	}
	approves := "[[rules]]\nname = \"friends\"\nwhen = 'request.urlVerified'\nthen = \"approve\"\n"
	if err := panel(api.Candidate{Rules: approves}); err != nil {
		t.Errorf("rules that the gateway lets approve: %v", err)
	}
	for want, with := range map[string]api.Candidate{
		"rules:3: rule \"a\": when: column 9: unknown name \"mesage.text\"": {Rules: "[[rules]]\nname = \"a\"\nwhen = 'true && mesage.text == \"\"'\nthen = \"deny\"\n"},
		"may approve":              {Rules: "[policy.rules]\napproves = false\n" + approves},
		"has no [[rules]]":         {Rules: "# none"},
		"no valid TOML":            {Rules: "[[rules"},
		"not UTF-8":                {Rules: "# \xff"},
		"at most 128KiB":           {Rules: strings.Repeat("# long\n", 30_000)},
		"not both":                 {Rules: approves, Module: []byte("x")},
		"without its module":       {Manifest: "name = \"x\""},
		"not a WebAssembly module": {Module: []byte(strings.Repeat("not a module", 100))},
		"at most 16777216":         {Module: make([]byte, 16<<20+1)},
	} {
		if err := panel(with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := replay.ReadCandidate("nowhere/at/all"); !errors.Is(err, core.NotFound) {
		t.Errorf("ReadCandidate = %v, want NotFound", err)
	}
	if with, err := replay.Of(api.Candidate{}); err != nil || with.Files != nil || with.Rules != nil {
		t.Errorf("nothing is %+v, %v", with, err)
	}
}

// longDenied is a module that denies what it is asked with more than 200 bytes: made by core/plugin's assembler.
const longDenied = "0061736d01000000010b0260027f7f0060017f017f021001066f67705f76310577726974650000030201010503010001071802066d656d6f72790200" +
	"0b6f67705f6d65737361676500010a1f011d01007f200041c8014b04404100411310000541c000411610000b41000b0b35020041000b137b22646563" +
	"6973696f6e223a2264656e79227d0041c0000b167b226465636973696f6e223a226162737461696e227d"

// A candidate whose reads leave out what it decides by fails, and does not show fates that it would not give.
func TestCandidateThatLooksAtMoreThanItNames(t *testing.T) {
	wasm, err := hex.DecodeString(longDenied)
	if err != nil {
		t.Fatal(err)
	}
	for reads, want := range map[string]string{"": api.FateRefused, "reads = [\"message.intent\"]\n": api.FateFailed} {
		with, err := replay.Of(api.Candidate{Module: wasm, Manifest: "name = \"long\"\n" + reads})
		if err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		panel, err := replay.Panel(t.Context(), replay.Gateway{Config: &c}, with, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer panel.Close()
		v, err := replay.Ask{MaxBytes: 1 << 20, Page: func(context.Context, api.DecisionsParams) (api.DecisionsPage, error) {
			return api.DecisionsPage{Decisions: []api.DecisionView{came(1, "alice", "hello", core.Abstain)}}, nil
		}}.Run(t.Context(), panel)
		if err != nil || v.Now[want] != 1 {
			t.Errorf("%q: %+v, %v, want that it is %s", reads, v, err, want)
		}
	}
}
