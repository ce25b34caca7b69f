package brake

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// Where several nodes let messages in, what each of them has counted is a hint: the store
// counts what a line may cost, with the message itself.

// Uses are what a message that is let in is counted as, and bounded by. There are none where
// the store is one gateway's alone.
func (b *Brake) Uses(a Arrival) (uses []core.Use) {
	if b == nil || !b.o.Shared {
		return nil
	}
	most, wakes, now := b.o.Settings().Budget, b.wakes(), b.o.Now()
	use := core.Use{Peer: a.Peer, At: now, Over: "The budget of this peer is used up"}
	told := most.Messages
	if wakes && most.Runs > 0 && (told <= 0 || most.Runs < told) { // each message is a run
		told = most.Runs
	}
	if told > 0 || most.Bytes > 0 {
		use.Of, use.Bytes, use.Most = core.UseNotified+a.Intent, len(a.Payload), Within(Use{Messages: told, Bytes: most.Bytes})
		uses = append(uses, use)
	}
	if most.Tokens > 0 || most.Runs > 0 && !wakes {
		use.Of, use.Bytes, use.Most, use.Only = core.UseRan+a.Intent, 0, Within(Use{Messages: most.Runs, Bytes: most.Tokens}), true
		uses = append(uses, use)
	}
	return uses
}

// Across is what a line has cost within 24 hours on all nodes, as the store has counted it.
// What it does not count, as nothing bounds it, is as this node knows it. The error is the
// store's.
func (b *Brake) Across(ctx context.Context, store core.Shared, l Line) (Use, error) {
	u := b.Used(l)
	most, since := b.o.Settings().Budget, b.o.Now().Add(-hours*time.Hour)
	runs, tokens, err := store.Uses(ctx, l.Peer, core.UseRan+l.Intent, since)
	if err != nil {
		return u, err
	}
	u.Runs, u.Tokens = runs, tokens
	if most.Messages > 0 || most.Bytes > 0 {
		u.Messages, u.Bytes, err = store.Uses(ctx, l.Peer, core.UseNotified+l.Intent, since)
	}
	return u, err
}

// Within is the bound of a day on messages and bytes, for the store to count; zero: as much
// as there is.
func Within(u Use) core.Limit {
	limit := core.Unlimited(hours * time.Hour)
	limit.Rate.Requests, limit.Size.Bytes = min(cmp.Or(u.Messages, limit.Rate.Requests), math.MaxInt32), cmp.Or(u.Bytes, limit.Size.Bytes)
	return limit
}

// spent is that a budget was used up: until a time nothing as large is let in.
type spent struct {
	budget Use
	bytes  int
	until  time.Time
}

// Spent reports whether an error of the store is that one of the Uses of a message was too
// many. The next Arrives then holds it.
func (b *Brake) Spent(a Arrival, err error) bool {
	var over core.Over
	var e *core.Error
	line := Line{a.Peer, a.Intent}
	if b == nil || !errors.As(err, &over) || over.Of != core.UseNotified+a.Intent && over.Of != core.UseRan+a.Intent || !errors.As(err, &e) {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent[line] = spent{b.o.Settings().Budget, len(a.Payload), b.o.Now().Add(max(e.RetryAfter-time.Second, time.Second))}
	return true
}

// isSpent reports whether the store has refused one as large. Called with mu held.
func (b *Brake) isSpent(l Line, budget Use, bytes int, now time.Time) bool {
	s, is := b.spent[l]
	switch {
	case !is:
		return false
	case s.budget != budget, !now.Before(s.until):
		delete(b.spent, l)
		return false
	}
	return bytes >= s.bytes
}

// writeRuns has the store count the runs since it was last called.
func (b *Brake) writeRuns(ctx context.Context, store core.Store) error {
	b.mu.Lock()
	runs := b.runs
	b.runs = nil
	b.mu.Unlock()
	if len(runs) == 0 {
		return nil
	}
	err := store.Commit(ctx, &core.Change{Lazy: true, Uses: runs})
	if err != nil {
		b.mu.Lock()
		b.runs = append(runs, b.runs...)
		b.mu.Unlock()
	}
	return err
}
