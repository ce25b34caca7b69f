// Package replica reads what is only shown (lists, single messages, counts) from a copy of
// the database, and from the database itself while the copy is away or far behind. What is
// decided is never decided on a copy: it asks the database.
package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	// lookEvery is how often Run looks at the copy.
	lookEvery = 5 * time.Second
	// readTime bounds one read of the copy; then the database itself is asked.
	readTime = 5 * time.Second
	// tooOld is how far behind the copy may be.
	tooOld = time.Minute
)

// Copy is a copy of a store.
type Copy interface {
	lists
	Meta(ctx context.Context, key string) (string, error)
	// Behind is how far it is behind.
	Behind(ctx context.Context) (time.Duration, error)
	Name() string
	Close()
}

// lists is what is read from the copy or from the store.
type lists interface {
	Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error)
	InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error)
	Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error)
	OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error)
	Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error)
	Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error)
	Depths(ctx context.Context, most int) (core.Depths, error)
}

// Lists is a store whose lists are read from a copy. Its other methods are those of the
// store itself. Safe for concurrent use.
type Lists struct {
	core.Store
	copy  Copy
	owner string // the Meta of this key must be the same in both
	log   *slog.Logger

	mu     sync.Mutex // guards ill, behind
	ill    error      // why the copy is not read; nil: it is
	behind time.Duration
}

// New reads the lists of a store from a copy, once Look has found it well. owner is the key
// of Meta that says whose a store is: a copy of another is not read.
func New(s core.Store, c Copy, owner string, log *slog.Logger) *Lists {
	return &Lists{Store: s, copy: c, owner: owner, log: log, ill: errNotYet}
}

var (
	errNotYet  = errors.New("it was not checked yet")
	errNotCopy = errors.New("it is not a copy of the database that store names")
)

// Run looks every few seconds how the copy does, until ctx is done, and closes it.
func (l *Lists) Run(ctx context.Context) error {
	defer l.copy.Close()
	l.Look(ctx)
	return core.Every(ctx, lookEvery, l.Look)
}

// Look looks how the copy does.
func (l *Lists) Look(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	behind, err := l.copy.Behind(limited)
	if err == nil {
		err = l.same(limited)
	}
	if errors.Is(err, core.Internal) { // it has other tables
		err = errNotCopy
	}
	if err == nil && behind > tooOld {
		err = fmt.Errorf("it is %v behind", behind.Round(time.Second))
	}
	if ctx.Err() == nil {
		l.feel(behind, err)
	}
}

// same is nil where the copy is one of the store.
func (l *Lists) same(ctx context.Context) error {
	theirs, err := l.copy.Meta(ctx, l.owner)
	if err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	ours, err := l.Store.Meta(ctx, l.owner)
	if err != nil {
		return err
	}
	if ours != theirs {
		return errNotCopy
	}
	return nil
}

// feel notes how the copy does, and says so once.
func (l *Lists) feel(behind time.Duration, err error) {
	l.mu.Lock()
	was := l.ill
	l.ill, l.behind = err, behind
	l.mu.Unlock()
	switch {
	case err != nil && (was == nil || was == errNotYet):
		l.log.Warn("the database of store_read is not read: lists come from the one of store", "database", l.copy.Name(), "err", err)
	case err == nil && was != nil:
		l.log.Info("lists are read from the database of store_read", "database", l.copy.Name(), "behind", behind.Round(time.Millisecond))
	}
}

// Behind is how far the copy was behind when it was last looked at; the error is why it is not
// read.
func (l *Lists) Behind() (time.Duration, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.behind, l.ill
}

// read reads from the copy, else from the store. missing has what the copy does not have
// looked for in the store, too, as it may have come a moment ago.
func read[T any](ctx context.Context, l *Lists, missing bool, of func(context.Context, lists) (T, error)) (T, error) {
	if _, ill := l.Behind(); ill != nil {
		return of(ctx, l.Store)
	}
	limited, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	v, err := of(limited, l.copy)
	switch {
	case err == nil, ctx.Err() != nil, !missing && errors.Is(err, core.NotFound):
		return v, err
	case !errors.Is(err, core.NotFound):
		behind, _ := l.Behind()
		l.feel(behind, err)
	}
	return of(ctx, l.Store)
}

// Inbox is as for core.Store.
func (l *Lists) Inbox(ctx context.Context, f core.InboxFilter) ([]*core.InboxMessage, error) {
	return read(ctx, l, false, func(ctx context.Context, s lists) ([]*core.InboxMessage, error) { return s.Inbox(ctx, f) })
}

// InboxMessage is as for core.Store.
func (l *Lists) InboxMessage(ctx context.Context, id string) (*core.InboxMessage, error) {
	return read(ctx, l, true, func(ctx context.Context, s lists) (*core.InboxMessage, error) { return s.InboxMessage(ctx, id) })
}

// Outbox is as for core.Store.
func (l *Lists) Outbox(ctx context.Context, f core.OutboxFilter) ([]*core.OutboxItem, error) {
	return read(ctx, l, false, func(ctx context.Context, s lists) ([]*core.OutboxItem, error) { return s.Outbox(ctx, f) })
}

// OutboxItem is as for core.Store.
func (l *Lists) OutboxItem(ctx context.Context, id string) (*core.OutboxItem, error) {
	return read(ctx, l, true, func(ctx context.Context, s lists) (*core.OutboxItem, error) { return s.OutboxItem(ctx, id) })
}

// Reply is as for core.Store.
func (l *Lists) Reply(ctx context.Context, peer core.PublicKey, nonce core.Nonce) (*core.StoredReply, error) {
	return read(ctx, l, true, func(ctx context.Context, s lists) (*core.StoredReply, error) { return s.Reply(ctx, peer, nonce) })
}

// Deliveries is as for core.Store.
func (l *Lists) Deliveries(ctx context.Context, f core.DeliveryFilter) ([]*core.Delivery, error) {
	return read(ctx, l, false, func(ctx context.Context, s lists) ([]*core.Delivery, error) { return s.Deliveries(ctx, f) })
}

// Depths is as for core.Store.
func (l *Lists) Depths(ctx context.Context, most int) (core.Depths, error) {
	return read(ctx, l, false, func(ctx context.Context, s lists) (core.Depths, error) { return s.Depths(ctx, most) })
}
