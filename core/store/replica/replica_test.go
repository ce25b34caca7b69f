package replica

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
)

// late is a copy that has what it is given.
type late struct {
	core.Store
	behind time.Duration
	err    error
	reads  int
}

func (c *late) Behind(context.Context) (time.Duration, error) { return c.behind, c.err }
func (c *late) Name() string                                  { return "copy" }
func (c *late) Close()                                        {}
func (c *late) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	c.reads++
	if c.err != nil {
		return nil, c.err
	}
	return c.Store.Inbox(ctx, f)
}

func with(t *testing.T, owner string, ids ...string) core.Store {
	t.Helper()
	s := memory.New()
	c := &core.Change{Meta: map[string]string{"owner": owner}}
	for _, id := range ids {
		c.Inbox = append(c.Inbox, &core.InboxMessage{ID: id, Peer: core.PublicKey{1}, At: time.Now().UTC(), Status: core.InboxNew})
	}
	if err := s.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return s
}

func count(t *testing.T, l *Lists) int {
	t.Helper()
	list, err := l.Inbox(t.Context(), core.InboxFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

const one, two = "01JN0000000000000000000001", "01JN0000000000000000000002"

func TestListsComeFromTheCopy(t *testing.T) {
	var log bytes.Buffer
	c := &late{Store: with(t, "us", one)}
	l := New(with(t, "us", one, two), c, "owner", slog.New(slog.NewTextHandler(&log, nil)))
	if n := count(t, l); n != 2 || c.reads != 0 {
		t.Errorf("before a look: %d messages, want the 2 of the store", n)
	}
	l.Look(t.Context())
	if n := count(t, l); n != 1 {
		t.Errorf("%d messages, want the one of the copy", n)
	}
	if m, err := l.InboxMessage(t.Context(), two); err != nil || m.ID != two {
		t.Errorf("what the copy does not have yet = %v, want it from the store", err)
	}
	if _, err := l.InboxMessage(t.Context(), "none"); !errors.Is(err, core.NotFound) {
		t.Errorf("what is nowhere = %v, want NotFound", err)
	}
	// Decisions never look at it.
	if err := l.Commit(t.Context(), &core.Change{Meta: map[string]string{"x": "y"}}); err != nil {
		t.Fatal(err)
	}
	if v, err := l.Meta(t.Context(), "x"); err != nil || v != "y" {
		t.Errorf("Meta = %q, %v, want it from the store", v, err)
	}

	c.err = errors.New("gone")
	if n := count(t, l); n != 2 {
		t.Errorf("without the copy: %d messages, want the 2 of the store", n)
	}
	reads := c.reads
	if count(t, l); c.reads != reads {
		t.Error("a copy that is away is asked for every list")
	}
	if _, err := l.Behind(); err == nil {
		t.Error("nothing says that the copy is away")
	}
	c.err = nil
	l.Look(t.Context())
	if n := count(t, l); n != 1 {
		t.Errorf("once it is back: %d messages, want the one of the copy", n)
	}
	c.behind = 2 * time.Minute
	l.Look(t.Context())
	if d, err := l.Behind(); d != c.behind || err == nil || count(t, l) != 2 {
		t.Errorf("far behind: %v, %v, want the store read", d, err)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 4 {
		t.Errorf("%d lines, want one for each change:\n%s", lines, log.String())
	}
}

// TestCopyOfAnother: what another gateway has is not shown as ours.
func TestCopyOfAnother(t *testing.T) {
	l := New(with(t, "us", one), &late{Store: with(t, "them", one, two)}, "owner", slog.New(slog.DiscardHandler))
	l.Look(t.Context())
	if _, err := l.Behind(); err == nil || !strings.Contains(err.Error(), "not a copy") || count(t, l) != 1 {
		t.Errorf("Behind = %v, want it not read", err)
	}

	// Also one that becomes another's, or has other tables, later.
	c := &late{Store: with(t, "us", one)}
	l = New(with(t, "us", one), c, "owner", slog.New(slog.DiscardHandler))
	if l.Look(t.Context()); count(t, l) != 1 || c.reads == 0 {
		t.Error("the copy is not read")
	}
	c.Store = with(t, "them", one, two)
	l.Look(t.Context())
	if _, err := l.Behind(); err == nil || !strings.Contains(err.Error(), "not a copy") || count(t, l) != 1 {
		t.Errorf("then Behind = %v, want it not read", err)
	}
	c.Store, c.err = with(t, "us", one), core.Refuse(core.Internal, "no such table")
	l.Look(t.Context())
	if _, err := l.Behind(); err == nil || !strings.Contains(err.Error(), "not a copy") {
		t.Errorf("with other tables Behind = %v, want it not read", err)
	}
}
