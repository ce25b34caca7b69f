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
func CopyStore(ctx context.Context, dir string, o config.Options, where string, tell store.Progress) (_ store.Copied, err error) {
	cfg, _, _, err := config.Load(o)
	if err != nil {
		return store.Copied{}, err
	}
	if set := cfg.Store.IsSet(); set != (where == store.Default) {
		e := core.Refuse(core.Conflict, "the state is there already")
		if e.Hint = `name a database: "postgres://user:password@host/database", or "file:/path" of a file that holds such a URL`; set {
			e = core.Refuse(core.Unsupported, "a copy from one database into another needs the databases' own tools")
			e.Hint = `"sqlite" copies the state into the state directory`
		}
		return store.Copied{}, e
	}
	if _, err := os.Stat(filepath.Join(dir, KeyFile)); errors.Is(err, os.ErrNotExist) && cfg.Signer == "" {
		return store.Copied{}, core.Refusef(core.NotFound, "%s holds no gateway: there is no %s", dir, KeyFile)
	}
	var ends [2]core.Store
	for i, s := range []config.Secret{cfg.Store, config.NewSecret(where)} {
		at, err := s.Reveal()
		if err != nil {
			return store.Copied{}, err
		}
		if ends[i], err = store.Open(ctx, at, dir); err != nil {
			return store.Copied{}, err
		}
		defer func() { err = errors.Join(err, ends[i].Close()) }()
	}
	return store.Copy(ctx, ends[0], ends[1], tell)
}
