// Package store opens the gateway's memory by the name of its kind. The promises
// are those of core.Store; storetest holds every kind to them.
package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/memory"
	"github.com/opengatewayprotocol/ogp/core/store/sqlite"
)

// Default is the kind for a gateway that names none.
const Default = "sqlite"

// backends are the kinds of store. A new one is a line here.
var backends = map[string]func(ctx context.Context, dir string) (core.Store, error){
	"sqlite": func(ctx context.Context, dir string) (core.Store, error) {
		s, err := sqlite.Open(ctx, dir)
		if err != nil {
			return nil, err // and not a nil *sqlite.Store, which is not nil
		}
		return s, nil
	},
	"memory": func(context.Context, string) (core.Store, error) { return memory.New(), nil },
}

// Kinds returns the names of the kinds of store, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(backends)) }

// Open opens the store of a kind in the state directory dir. An empty kind is
// Default. It returns an error of kind Unsupported for a kind that there is not,
// and otherwise the errors of that kind's own Open. The caller closes the store.
func Open(ctx context.Context, kind, dir string) (core.Store, error) {
	if kind == "" {
		kind = Default
	}
	open, ok := backends[kind]
	if !ok {
		e := core.Refusef(core.Unsupported, "store: no kind %q", kind)
		e.Hint = "the kinds are " + strings.Join(Kinds(), " and ")
		return nil, e
	}
	return open(ctx, dir)
}
