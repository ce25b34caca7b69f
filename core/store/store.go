// Package store opens the gateway's memory by the name of its kind, or where it is. The promises
// are those of core.Store; storetest holds every kind to them.
package store

import (
	"context"
	"log/slog"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/postgres"
	"github.com/opengatewayprotocol/ogp/core/store/replica"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// Default is the kind for a gateway that names none.
const Default = "sqlite"

// backends are the kinds of store, by name or by the scheme of where they are. A new one
// is a line here.
var backends = map[string]func(ctx context.Context, at string) (core.Store, error){
	"sqlite": func(ctx context.Context, dir string) (core.Store, error) {
		s, err := sqlite.Open(ctx, dir)
		if err != nil {
			return nil, err // and not a nil *sqlite.Store, which is not nil
		}
		return s, nil
	},
	"memory": func(context.Context, string) (core.Store, error) { return memory.New(), nil },
	"postgres": func(ctx context.Context, url string) (core.Store, error) {
		s, err := postgres.Open(ctx, url)
		if err != nil {
			return nil, err
		}
		return s, nil
	},
}

// Lists is a store whose lists are read from a read replica at a URL, "postgres://...".
// owner is the key of Meta that both must have alike. The caller runs it. The error is of
// kind Malformed.
func Lists(ctx context.Context, s core.Store, url, owner string, log *slog.Logger) (*replica.Lists, error) {
	c, err := postgres.OpenCopy(ctx, url)
	if err != nil {
		return nil, err
	}
	return replica.New(s, c, owner, log), nil
}

// Open opens the store of a kind in the state directory dir, or where a URL says,
// "postgres://...". An empty kind is Default. It returns an error of kind Unsupported for
// a kind that there is not, and otherwise the errors of that kind's own Open. The caller
// closes the store.
func Open(ctx context.Context, kind, dir string) (core.Store, error) {
	if kind == "" {
		kind = Default
	}
	at := dir
	if scheme, _, isURL := strings.Cut(kind, "://"); isURL {
		kind, at = strings.TrimSuffix(scheme, "ql"), kind // postgresql is the same
	}
	open, ok := backends[kind]
	if !ok || (kind == "postgres") != (at != dir) {
		return nil, core.Refuse(core.Unsupported, "store: unknown kind of store").
			WithHint(`leave it empty for a file in the state directory, or write "postgres://user:password@host/database"`)
	}
	return open(ctx, at)
}
