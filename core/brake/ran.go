package brake

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// Messages are counted again from the events of them. Of the agent's runs and tokens there
// is none, so that they are written down.

// ranPlugin is where in the store; no plugin can have the name.
const ranPlugin = "_brake"

// writeEvery is how often; others wait for it where the store is Shared.
const (
	writeEvery = 5 * time.Second
	shareEvery = 500 * time.Millisecond
)

// ran is what was counted in an hour.
type ran struct {
	Hour   int64 `json:"hour"` // since 1970
	Runs   int   `json:"runs,omitzero"`
	Tokens int64 `json:"tokens,omitzero"`
}

func (l Line) key() string { return hex.EncodeToString(l.Peer[:]) + " " + l.Intent }

// RestoreRuns counts the runs and tokens again that were written down. It comes before the
// first run.
func (b *Brake) RestoreRuns(ctx context.Context, store core.Store) error {
	sizes, err := store.KVList(ctx, ranPlugin, "")
	if err != nil {
		return err
	}
	now, old := hourOf(b.began), &core.Change{}
	for key := range sizes {
		text, err := store.KV(ctx, ranPlugin, key)
		if err != nil {
			return err
		}
		of, intent, _ := strings.Cut(key, " ")
		var k core.PublicKey
		var list []ran
		counts := false
		if n, err := hex.Decode(k[:], []byte(of)); err == nil && n == len(k) && json.Unmarshal(text, &list) == nil {
			for _, r := range list {
				if r.Hour > now-hours && r.Hour <= now {
					b.used.Add(Line{k, intent}, time.Unix(r.Hour*3600, 0), Use{Runs: r.Runs, Tokens: r.Tokens})
					counts = true
				}
			}
		}
		if !counts {
			old.KV = append(old.KV, core.KVPut{Plugin: ranPlugin, Key: key})
		}
	}
	if len(old.KV) == 0 {
		return nil
	}
	return store.Commit(ctx, old)
}

// Run counts again what a restart forgets, and writes the agent's runs down until ctx is
// done, and once more then.
func (b *Brake) Run(ctx context.Context, store core.Store) error {
	if err := b.Recount(ctx, store); err != nil && ctx.Err() == nil {
		return err
	}
	every := writeEvery
	if b.o.Shared {
		every = shareEvery
	}
	_ = core.Every(ctx, every, func(ctx context.Context) {
		_ = b.Write(ctx, store) // it is tried again, and the store says itself that it is ill
	})
	return b.Write(context.WithoutCancel(ctx), store)
}

// Write writes down what has been counted since it last did.
func (b *Brake) Write(ctx context.Context, store core.Store) error {
	if b.o.Shared {
		return b.writeRuns(ctx, store)
	}
	b.mu.Lock()
	lines := b.ran
	b.ran = map[Line]struct{}{}
	b.mu.Unlock()
	if len(lines) == 0 {
		return nil
	}
	change := &core.Change{Lazy: true}
	for l := range lines {
		list := []ran{}
		b.used.hours(l, b.o.Now(), func(hour int64, u Use) {
			if u.Runs > 0 || u.Tokens > 0 {
				list = append(list, ran{hour, u.Runs, u.Tokens})
			}
		})
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		change.KV = append(change.KV, core.KVPut{Plugin: ranPlugin, Key: l.key(), Value: text})
	}
	err := store.Commit(ctx, change)
	if err != nil {
		b.mu.Lock()
		for l := range lines {
			b.ran[l] = struct{}{}
		}
		b.mu.Unlock()
	}
	return err
}
