package daemon

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// keptWithin is how long after its id was made an event can be kept: in between,
// policies are asked. It is generous, as it costs no more than some memory.
const keptWithin = 10 * time.Minute

// idAt is below every id that is made from t on.
func idAt(t time.Time) string {
	var id ulid.ULID
	if t.After(time.Unix(0, 0)) {
		_ = id.SetTime(ulid.Timestamp(t)) // fails in the year 10889
	}
	return id.String()
}

// timeOf is when an id was made.
func timeOf(id string) time.Time {
	u, err := ulid.ParseStrict(id)
	if err != nil {
		return time.Time{}
	}
	return ulid.Time(u.Time())
}

// follower sends every event once. Ids are in the order in which they were made,
// and watching gives events in the order in which they were kept, so that neither
// the last id nor the last event says where the other begins.
type follower struct {
	read  func(ctx context.Context, after string, limit int) ([]*core.Event, error)
	watch func() (<-chan core.Event, func())
	send  func(core.Event) error
	sent  map[string]bool // what was sent of late
	floor string          // below it, nothing can be kept any more that was not sent
}

// follow sends the kept events after an id, the oldest first, and then, if live,
// every event as it is kept until ctx is done. An empty id means live ones alone.
func (f *follower) follow(ctx context.Context, after string, live bool) error {
	f.sent = map[string]bool{}
	f.advance(time.Now())
	if after == "" {
		after = f.floor
		if err := f.kept(ctx, after, func(core.Event) error { return nil }); err != nil {
			return err
		}
	}
	for {
		began := time.Now()
		if !live {
			return f.kept(ctx, after, f.send)
		}
		events, stop := f.watch()
		err := f.kept(ctx, after, f.send)
		if err == nil {
			err = f.live(ctx, began, events)
		}
		stop()
		if err != nil || ctx.Err() != nil {
			return err
		}
		after = f.floor // we did not keep up
	}
}

// kept reads what the store has after an id.
func (f *follower) kept(ctx context.Context, after string, send func(core.Event) error) error {
	for {
		page, err := f.read(ctx, after, 500)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			after = e.ID
			if err := f.once(*e, send); err != nil {
				return err
			}
		}
	}
}

// live sends what is watched until ctx is done or the channel is closed.
func (f *follower) live(ctx context.Context, began time.Time, events <-chan core.Event) error {
	newest := began
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-events:
			if !open {
				f.advance(newest)
				return nil
			}
			if err := f.once(e, f.send); err != nil {
				return err
			}
			if at := timeOf(e.ID); at.After(newest) {
				newest = at
			}
			if n%1000 == 0 {
				f.advance(newest)
			}
		}
	}
}

func (f *follower) once(e core.Event, send func(core.Event) error) error {
	if f.sent[e.ID] {
		return nil
	}
	if e.ID >= f.floor {
		f.sent[e.ID] = true
	}
	return send(e)
}

// advance forgets what cannot come again, as all that was kept up to t was sent.
func (f *follower) advance(t time.Time) {
	f.floor = max(f.floor, idAt(t.Add(-keptWithin)))
	for id := range f.sent {
		if id < f.floor {
			delete(f.sent, id)
		}
	}
}

func (d *Daemon) follow(ctx context.Context, after string, live bool, send func(core.Event) error) error {
	f := &follower{read: d.store.Events, watch: d.gateway.Watch, send: send}
	return f.follow(ctx, after, live)
}

// events streams every event as it is kept, and before those, if asked for, the
// ones that are kept already. No event is left out or comes twice.
func (d *Daemon) events(ctx context.Context, p api.EventParams, send func(api.EventView) error) error {
	var about core.PublicKey
	if p.Peer != "" {
		peer, err := d.gateway.Resolve(p.Peer)
		if err != nil {
			return err
		}
		about = peer.Key
	}
	after := p.After
	if !p.Since.IsZero() {
		after = idAt(p.Since)
	}
	return d.follow(ctx, after, !p.Kept, func(e core.Event) error {
		if !about.IsZero() && e.Peer != about || !api.OfTypes(e.Type, p.Types) {
			return nil
		}
		return send(d.eventView(e))
	})
}

func (d *Daemon) eventView(e core.Event) api.EventView {
	v := api.EventView{Event: e}
	if !e.Peer.IsZero() {
		v.Fingerprint = e.Peer.Fingerprint()
		v.From = v.Fingerprint
		if p := d.gateway.Peer(e.Peer); p != nil {
			v.From = p.Name()
		}
	}
	if e.Message != nil {
		v.Message, v.Intent = &e.Message.Message, e.Message.Message.Intent
	}
	return v
}
