package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/daemon/ownkey"
	"github.com/opengatewayprotocol/ogp/core/store"
)

// A state directory has two halves, the key and the store. One without the other is
// a loss, and never the beginning of something new without a word.
//
// docs/threat-model.md#k4

// ownerKey is where the store says whose it is.
const ownerKey = ownkey.OwnerKey

// storeThere reports whether the store's file is there and has something in it.
func storeThere(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, StoreFile))
	return err == nil && info.Size() > 0
}

// openStore opens the store where the configuration says, unless it has half a copy.
func (d *Daemon) openStore(ctx context.Context) (core.Store, error) {
	at, err := d.config().Store.Reveal()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s, err := store.Open(ctx, at, d.dir)
	if err != nil {
		return nil, err
	}
	if err := store.Whole(ctx, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openLists names where lists are read from, if that is another database.
func (d *Daemon) openLists(ctx context.Context) error {
	if !d.config().StoreRead.IsSet() {
		return nil
	}
	if !d.config().Store.IsSet() {
		return core.Refuse(core.Malformed, "store_read names a database, and store names none").
			WithHint("store_read is a read replica of the database of store: set both, or neither")
	}
	at, err := d.config().StoreRead.Reveal()
	if err != nil {
		return fmt.Errorf("store_read: %w", err)
	}
	if d.lists, err = store.Lists(ctx, d.store, at, ownerKey, d.log); err != nil {
		return fmt.Errorf("store_read: %w", err)
	}
	return nil
}

// shown is the store that lists are read from.
func (d *Daemon) shown() core.Store {
	if d.lists != nil {
		return d.lists
	}
	return d.store
}

// runLists looks how the database of store_read does.
func (d *Daemon) runLists(ctx context.Context) error {
	if d.lists == nil {
		return nil
	}
	return d.lists.Run(ctx)
}

// behind is how far lists are behind, and why they are read from the store itself, if they are.
func (d *Daemon) behind() (time.Duration, error) {
	if d.lists == nil {
		return 0, nil
	}
	return d.lists.Behind()
}

// lateBy is how far behind lists are before a status says so.
const lateBy = 10 * time.Second

// checkHalves refuses a directory that has lost its key or its store.
func (d *Daemon) checkHalves(ctx context.Context) error {
	if d.config().Signer != "" && !storeThere(d.dir) && !d.config().Store.IsSet() && !d.o.NewStore {
		if _, err := os.Stat(filepath.Join(d.dir, storeLock)); err == nil { // one was there
			return d.storeGone("missing or empty")
		}
	}
	if d.config().Store.IsSet() || d.config().Signer != "" {
		return nil // the key and the store are in two places: claim says whether they belong together
	}
	_, err := os.Stat(filepath.Join(d.dir, KeyFile))
	switch {
	case err == nil && !storeThere(d.dir) && d.o.NewStore:
		return setAside(d.dir)
	case err == nil && !storeThere(d.dir):
		return d.storeGone("missing or empty")
	case errors.Is(err, os.ErrNotExist) && storeThere(d.dir):
		return d.checkOwner(ctx)
	}
	return nil
}

// storeGone is the refusal of a key whose store is no more.
func (d *Daemon) storeGone(how string) error {
	return core.Refusef(core.Conflict, "%s has a key, and its store %s is %s: the peers, the inbox and the outbox are lost", d.dir, StoreFile, how).
		WithHint(fmt.Sprintf(`move %s elsewhere and run "ogp restore" with a backup; or begin with an empty store: "ogp start --new-store", and ask every peer again`, d.dir))
}

// setAside keeps what is left of a store out of the way of a new one.
func setAside(dir string) error {
	to := time.Now().UTC().Format("20060102T150405Z")
	for _, end := range []string{"", "-wal", "-shm", ".last"} {
		path := filepath.Join(dir, StoreFile+end)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.Size() == 0:
			err = os.Remove(path)
		default:
			err = os.Rename(path, path+".before-"+to)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkOwner refuses a store without a key, unless it is nobody's yet.
func (d *Daemon) checkOwner(ctx context.Context) error {
	s, err := d.openStore(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	owner, err := s.Meta(ctx, ownerKey)
	if err != nil && !errors.Is(err, core.NotFound) {
		return err
	}
	peers, err := s.Peers(ctx)
	if err != nil {
		return err
	}
	var k core.PublicKey
	switch {
	case owner == "" && len(peers) == 0 && s.Lost() == nil:
		return nil
	case k.UnmarshalText([]byte(owner)) == nil && !k.IsZero():
		owner = "gateway " + k.Fingerprint()
	default:
		owner = "a gateway"
	}
	e := core.Refusef(core.Conflict, "%s holds the store of %s with its peers (%d), and its key %s is missing", d.dir, owner, len(peers), KeyFile)
	e.Hint = fmt.Sprintf(`put %s back from a backup: move %s elsewhere and run "ogp restore"; or begin as another gateway, which nobody knows yet: move %s* out of %s`,
		KeyFile, d.dir, StoreFile, d.dir)
	return e
}

// claim says in the store whose it is, and refuses one that is another's.
func (d *Daemon) claim(ctx context.Context) error {
	own := d.key.Public().String()
	owner, err := d.store.Meta(ctx, ownerKey)
	switch {
	case errors.Is(err, core.NotFound) && d.store.Lost() != nil && !d.o.NewStore: // not even whose it is
		return d.storeGone("empty, as its log is lost")
	case errors.Is(err, core.NotFound):
		d.first = d.first || d.key.Remote != nil
		first := &core.Change{Meta: map[string]string{ownerKey: own}}
		if shared, ok := d.store.(core.Shared); ok && shared.Shared() { // another node may do the same now
			news, err := shared.Since(ctx, 0)
			if err != nil || news.Meta[ownerKey] != "" {
				return errors.Join(err, d.claim(ctx))
			}
			first.Seen = news.Seen
		}
		if err := d.store.Commit(ctx, first); !errors.Is(err, core.Moved) {
			return err
		}
		return d.claim(ctx)
	case err != nil:
		return err
	case owner == own:
		return nil
	}
	var k core.PublicKey
	_ = k.UnmarshalText([]byte(owner)) // a zero key is shown as one
	return core.Refusef(core.Conflict, "%s holds the store of gateway %s and the key of gateway %s", d.dir, k.Fingerprint(), d.key.Public().Fingerprint()).
		WithHint(fmt.Sprintf(`put the key back that belongs to the store; or begin with an empty store: move %s* out of %s, and "ogp start --new-store"`, StoreFile, d.dir))
}

// noteKey says that a passphrase is given which seals nothing, or a key is kept that is of
// no use.
func (d *Daemon) noteKey() {
	if d.keyPlace().IsPlain() {
		d.notes = append(d.notes, `a passphrase is given for the key, which is not sealed; "ogp key seal" seals it`)
	}
	if d.key.Unused {
		d.notes = append(d.notes, KeyFile+" is not used, as the signer has our key; move it to a safe place")
	}
}

// noteLoss says that the store has lost what was acknowledged: once in the log, and in
// each status.
func (d *Daemon) noteLoss() {
	if s, ok := d.store.(interface{ Warnings() []string }); ok {
		d.notes = append(d.notes, s.Warnings()...)
	}
	if err := d.store.Lost(); err != nil {
		d.notes = append(d.notes, err.Error()+"; "+api.ErrorOf(err).Hint)
	}
}

// storeEvery is how often the store is asked how it does, which costs nothing.
const storeEvery = time.Second

// watchStore says once that nothing can be kept any more, and once that it can be
// again.
func (d *Daemon) watchStore(ctx context.Context) error {
	var since time.Time
	return core.Every(ctx, storeEvery, func(ctx context.Context) {
		err := d.store.Health()
		switch {
		case err != nil && since.IsZero():
			since = time.Now()
			d.log.Error("the store cannot write", "err", err, "hint", api.ErrorOf(err).Hint)
		case err == nil && !since.IsZero():
			d.log.Log(ctx, slog.LevelWarn, "the store writes again", "after", time.Since(since).Round(time.Second))
			since = time.Time{}
		}
	})
}

// storeNote is what a status says of a store that keeps nothing, and of a signer that signs
// nothing.
func (d *Daemon) storeNote() (notes []string) {
	if err := d.store.Health(); err != nil {
		notes = append(notes, "nothing can be stored: "+err.Error()+"; "+api.ErrorOf(err).Hint)
	}
	switch behind, err := d.behind(); {
	case err != nil:
		notes = append(notes, "lists are read from the database of store, as that of store_read is not: "+err.Error()+"; check the replica")
	case behind > lateBy:
		notes = append(notes, fmt.Sprintf("lists are %v behind, as the database of store_read is; check the replica", behind.Round(time.Second)))
	}
	if err := d.key.Health(); err != nil {
		notes = append(notes, "what we send waits to be signed: "+err.Error()+"; "+api.ErrorOf(err).Hint)
	}
	return notes
}
