package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/peering"
)

// mostShown is how many peers or errors a status shows.
const mostShown = 5

// failures are the last events that say that something went wrong.
type failures struct {
	mu   sync.Mutex // guards last
	last []core.Event
}

func (f *failures) add(e core.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last = append(f.last, e); len(f.last) > mostShown {
		f.last = slices.Delete(f.last, 0, 1)
	}
}

// newestFirst gives those of the last day.
func (f *failures) newestFirst() []core.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(f.last), func(e core.Event) bool { return time.Since(e.At) > defaultSince })
	slices.Reverse(out)
	return out
}

// watchFailures keeps the last failures for the status.
func (d *daemon) watchFailures(ctx context.Context) error {
	err := d.follow(ctx, idAt(time.Now().Add(-defaultSince)), true, func(e core.Event) error {
		if e.Type == core.EventDeliveryFailed || e.Type == core.EventWarning {
			d.failures.add(e)
		}
		return nil
	})
	if err != nil { // the gateway itself does not need them
		d.log.Error("the status will not show the last errors", "err", err)
	}
	return nil
}

// statusOfParts adds to the status how the parts do.
func (d *daemon) statusOfParts(v *api.StatusView) {
	v.Health = map[string]int{}
	for _, p := range d.gateway.Peers() {
		if p.Trust != core.Approved {
			continue
		}
		h := d.view(p, false).Health
		v.Health[cmp.Or(h.Word, "not checked yet")]++
		if (h.Outbound == peering.Degraded || h.Outbound == peering.Down) && len(v.Ailing) < mostShown {
			v.Ailing = append(v.Ailing, api.AilingView{Name: p.Name(), Word: h.Word, LastContact: h.LastContact, Error: h.LastError})
		}
	}
	if d.rendezvous != nil { // before we run, there is none
		v.Rendezvous = d.rendezvous.Status()
	}
	for _, p := range d.extensions.List() {
		if p.State != extensionReady {
			v.NotReady = append(v.NotReady, api.NotReadyView{Name: p.Name, State: p.State, Error: p.Error})
		}
	}
	for _, e := range d.failures.newestFirst() {
		v.LastErrors = append(v.LastErrors, d.eventView(e))
	}
}

// watchEvery is how often a watched status is drawn anew.
const watchEvery = 2 * time.Second

// The sequences of a terminal that a watched status needs (ECMA-48, xterm).
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l\x1b[?7l" // another screen, without a cursor, that cuts lines
	screenClose = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineDone    = "\x1b[K\n"
	screenRest  = "\x1b[J"
)

// watchStatus shows the status again and again until ctx is done. On a terminal
// it is drawn in place, and the terminal is as before when it ends. The daemon
// may go and come again.
func (a *app) watchStatus(ctx context.Context) error {
	s, err := api.Status.Call(ctx, a, api.None{})
	if err != nil {
		return err
	}
	screen := a.colours(a.out) && !a.json
	if screen {
		io.WriteString(a.out, screenOpen)
		defer io.WriteString(a.out, screenClose)
	}
	quiet := *a
	quiet.err = io.Discard // no spinner in the picture
	for {
		var text bytes.Buffer
		now, err := api.Status.Call(ctx, &quiet, api.None{})
		s = now
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, control.ErrNoDaemon):
			return err
		case a.json:
			line, err := json.Marshal(s)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "%s\n", safeJSON(line))
		case err != nil:
			fmt.Fprintf(&text, "%s  No daemon is running.\n", time.Now().Format(time.TimeOnly))
		default:
			fmt.Fprintf(&text, "%s  every %v, Ctrl-C ends it\n\n", time.Now().Format(time.TimeOnly), watchEvery)
			a.showStatus(&text, s)
		}
		if screen {
			a.draw(text.String())
		} else {
			a.out.Write(text.Bytes())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// draw puts a text in place of the one before, in one write so that it does not
// flicker. What does not fit on the screen is cut.
func (a *app) draw(text string) {
	_, height := sizeOf(a.out)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if height > 1 && len(lines) >= height {
		lines = append(lines[:height-2], "…")
	}
	var b strings.Builder
	b.WriteString(screenHome)
	for _, line := range lines {
		b.WriteString(line + lineDone)
	}
	b.WriteString(screenRest)
	io.WriteString(a.out, b.String())
}
