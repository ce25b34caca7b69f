package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// eventTypes are all types of events.
var eventTypes = []core.EventType{core.EventMessage, core.EventRequest, core.EventRequestDigest, core.EventApproved, core.EventRejected,
	core.EventRemoved, core.EventReply, core.EventDeliveryFailed, core.EventWarning}

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

func (d *daemon) follow(ctx context.Context, after string, live bool, send func(core.Event) error) error {
	f := &follower{read: d.store.Events, watch: d.gateway.Watch, send: send}
	return f.follow(ctx, after, live)
}

// events streams every event as it is kept, and before those, if asked for, the
// ones that are kept already. No event is left out or comes twice.
func (d *daemon) events(ctx context.Context, p api.EventParams, send func(api.EventView) error) error {
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
		if !about.IsZero() && e.Peer != about || !ofTypes(e.Type, p.Types) {
			return nil
		}
		return send(d.eventView(e))
	})
}

// ofTypes reports whether a type is one of those, or below one of them.
func ofTypes(t core.EventType, types []string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(want string) bool {
		return string(t) == want || strings.HasPrefix(string(t), want+".")
	})
}

func (d *daemon) eventView(e core.Event) api.EventView {
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

// eventText is an event in one line of a list.
func eventText(v api.EventView) string {
	if v.Message != nil {
		return safeLine(v.Intent) + "  " + oneLine(v.Message.Payload)
	}
	var data struct {
		Unverified core.Names     `json:"unverified"`
		Notifier   string         `json:"notifier"`
		Error      string         `json:"error"`
		Type       core.EventType `json:"type"`
		Data       jsontext.Value `json:"data"`
	}
	if len(v.Data) > 0 && json.Unmarshal(v.Data, &data) != nil {
		return safeLine(v.Text)
	}
	text := v.Text
	switch v.Type {
	case core.EventRequest:
		text += optional(" It says it is ", api.PeerView{Unverified: data.Unverified}.Said())
	case core.EventReply:
		text = "error: " + data.Error
		if data.Error == "" {
			text = oneLine(core.Raw(data.Data))
		}
	case core.EventDeliveryFailed:
		text = fmt.Sprintf("%s was not told of a %s: %s", data.Notifier, data.Type, data.Error)
	}
	return safeLine(text)
}

// defaultSince is how far "ogp events" looks back by itself.
const defaultSince = 24 * time.Hour

func eventsCommand(a *app) *cobra.Command {
	var p api.EventParams
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use: "events", Short: "Show what has happened, and what happens", Args: cobra.NoArgs,
		Long: `Show the events that are kept: messages, requests, approvals, removals, replies,
warnings, and what a notifier could not be told. With --follow, show each as it
happens; those before come as well if --since says from when on. With --json,
each is one JSON object on a line of its own, and none is left out or doubled.

  ogp events --since 7d --type federation
  ogp events --follow --json --peer ben`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.Kept = !follow
			if since != "" || !follow {
				back, err := parseSince(cmp.Or(since, defaultSince.String()))
				if err != nil {
					return err
				}
				p.Since = back
			}
			for _, t := range p.Types {
				if !slices.ContainsFunc(eventTypes, func(known core.EventType) bool { return ofTypes(known, []string{t}) }) {
					return usagef("--type %q: want one of %s", t, joined(eventTypes))
				}
			}
			return a.showEvents(cmd.Context(), p)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().StringVar(&since, "since", "", "from the last 24h, 7d, ..., or from a time on (default 24h, with --follow only what comes)")
	cmd.Flags().StringSliceVar(&p.Types, "type", nil, "only of these types, such as message or federation")
	cmd.Flags().StringVar(&p.Peer, "peer", "", "only about this peer")
	return cmd
}

// parseSince reads how far back to look: a duration, or a time.
func parseSince(s string) (time.Time, error) {
	if d, err := core.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("--since %q: want a duration such as 24h or 7d, or a time such as 2027-01-31", s)
}

func joined[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, x := range list {
		words[i] = string(x)
	}
	return strings.Join(words, ", ")
}

func (a *app) showEvents(ctx context.Context, p api.EventParams) error {
	d, err := a.daemon()
	if err != nil {
		return err
	}
	any := false
	err = api.Events.Follow(ctx, d, p, func(v api.EventView) error {
		any = true
		if a.json {
			line, err := json.Marshal(v)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n", safeJSON(line))
			return err
		}
		return a.eventLine(a.out, v)
	})
	switch {
	case err != nil:
		return err
	case p.Kept && !any && !a.json:
		fmt.Fprintln(a.err, "No events.")
	case !p.Kept && ctx.Err() == nil:
		fmt.Fprintln(a.err, "The gateway has stopped.")
		return errPrinted(exitNoDaemon)
	}
	return nil
}

func (a *app) eventLine(w io.Writer, v api.EventView) error {
	kind := padded(string(v.Type), 20)
	switch v.Type {
	case core.EventDeliveryFailed, core.EventWarning:
		kind = a.styled(w, "33", kind)
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s  %s\n", v.At.Local().Format(time.DateTime), kind, padded(dash(safeLine(v.From)), 12), eventText(v))
	return err
}
