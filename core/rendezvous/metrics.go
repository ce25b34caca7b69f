package rendezvous

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/opengatewayprotocol/ogp/core"
)

// metrics are the counters that an operator watches. docs/rendezvous.md#metrics
type metrics struct {
	registry      *prometheus.Registry
	registrations map[bool]prometheus.Counter // by signed
	renewals      prometheus.Counter
	lookups       prometheus.Counter
	misses        prometheus.Counter
	invites       prometheus.Counter
	resolves      prometheus.Counter
	inviteMisses  prometheus.Counter
	deregistered  prometheus.Counter
	refusals      *prometheus.CounterVec
	snapshot      prometheus.Gauge
}

func newMetrics(store Store, now func() time.Time) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "ogp_rendezvous_" + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	gauge := func(name, help string, f func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ogp_rendezvous_" + name, Help: help}, f))
	}
	registrations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ogp_rendezvous_registrations_total", Help: "Registrations accepted, renewals included."}, []string{"signed"})
	m.registrations = map[bool]prometheus.Counter{
		true: registrations.WithLabelValues("yes"), false: registrations.WithLabelValues("no")}
	m.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ogp_rendezvous_refusals_total", Help: "Requests refused, by reason."}, []string{"reason"})
	m.snapshot = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "ogp_rendezvous_snapshot_seconds", Help: "How long the last snapshot took."})
	m.registry.MustRegister(registrations, m.refusals, m.snapshot, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.renewals = counter("renewals_total", "Registrations of keys that were live.")
	m.lookups = counter("lookups_total", "Keys looked up and found.")
	m.misses = counter("misses_total", "Keys looked up and not found.")
	m.invites = counter("invites_total", "Invites made.")
	m.resolves = counter("invite_lookups_total", "Invite codes resolved.")
	m.inviteMisses = counter("invite_misses_total", "Invite codes that were not found.")
	m.deregistered = counter("deregistrations_total", "Records taken back by their owner.")
	var last atomic.Pointer[Counts] // what is shown while the store is away
	last.Store(&Counts{HoldUntil: time.UnixMilli(0)})
	of := func(f func(*Counts) float64) func() float64 {
		return func() float64 {
			if c, err := store.Counts(context.Background(), now()); err == nil {
				last.Store(&c)
			}
			return f(last.Load())
		}
	}
	gauge("store_up", "1 while the store answers, 0 while it does not: every request gets 503 then.", func() float64 {
		if _, err := store.Counts(context.Background(), now()); err != nil {
			return 0
		}
		return 1
	})
	gauge("records", "Live records.", of(func(c *Counts) float64 { return float64(c.Live) }))
	gauge("entries", "Records and the memory of dead ones.", of(func(c *Counts) float64 { return float64(c.Entries) }))
	gauge("invites", "Invite codes kept.", of(func(c *Counts) float64 { return float64(c.Codes) }))
	gauge("expired", "Records that expired since the start.", of(func(c *Counts) float64 { return float64(c.Expired) }))
	gauge("preserving_until_seconds", "Unix time until which nothing expires, as too few renewals came.",
		of(func(c *Counts) float64 { return float64(c.HoldUntil.UnixMilli()) / 1000 }))
	return m
}

func (m *metrics) refused(k core.Kind) { m.refusals.WithLabelValues(string(k)).Inc() }
