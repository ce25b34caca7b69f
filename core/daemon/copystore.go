package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/store"
)

// CopyStore puts all that a gateway's store has into another: "sqlite" for a file in the
// state directory, or a URL, also as a reference like any secret. The gateway does not
// run meanwhile: whoever has one of the two stores open is a Conflict.
func CopyStore(ctx context.Context, o Options, where string) (_ store.Copied, err error) {
	d, err := configured(o)
	if err != nil {
		return store.Copied{}, err
	}
	if set := d.config().Store.IsSet(); set != (where == store.Default) {
		e := core.Refuse(core.Conflict, "the state is there already")
		if e.Hint = `name a database: "postgres://user:password@host/database", or "file:/path" of a file that holds that`; set {
			e = core.Refuse(core.Unsupported, "from one database into another is the databases' own work")
			e.Hint = `"sqlite" copies the state into the state directory`
		}
		return store.Copied{}, e
	}
	if _, err := os.Stat(filepath.Join(d.dir, KeyFile)); errors.Is(err, os.ErrNotExist) {
		return store.Copied{}, core.Refusef(core.NotFound, "%s holds no gateway: there is no %s", d.dir, KeyFile)
	}
	at, err := config.NewSecret(where).Reveal()
	if err != nil {
		return store.Copied{}, err
	}
	from, err := d.openStore(ctx)
	if err != nil {
		return store.Copied{}, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := store.Open(ctx, at, d.dir)
	if err != nil {
		return store.Copied{}, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return store.Copy(ctx, from, to)
}
