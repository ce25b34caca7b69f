package daemon

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/gate"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/web"
)

// observe serves /metrics, /healthz and /readyz until ctx is done.
func (d *Daemon) observe(ctx context.Context) error {
	if d.observed == nil {
		return nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{d: d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	app := web.New(web.Options{Name: "metrics", Logger: d.log, MaxConns: gate.Local(), OwnHost: web.OwnHost(d.config().Metrics.Listen)})
	app.Get("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	app.Get("/healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]any{"ok": true}) }))
	app.Get("/readyz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		failing := d.notReady()
		status := http.StatusOK
		if len(failing) > 0 {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, struct {
			Ready   bool     `json:"ready"`
			Failing []string `json:"failing"`
		}{len(failing) == 0, failing})
	}))
	return app.Serve(ctx, d.observed)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, v, json.Deterministic(true)) // the reader has gone
}

// listenObserve opens the listener for monitoring, if one is configured.
func (d *Daemon) listenObserve() error {
	return listenAt(&d.observed, "metrics.listen", d.config().Metrics.Listen)
}

// notReady names what keeps us from doing our work.
func (d *Daemon) notReady() []string {
	failing := []string{}
	if d.ending.Load() {
		failing = append(failing, "stopping")
	}
	if d.store.Health() != nil {
		failing = append(failing, "store")
	}
	if why := d.nodes.Differs(); why != "" {
		failing = append(failing, "node: "+why)
	}
	if _, err := d.hooks.Plugins(); err != nil {
		failing = append(failing, "policies")
	}
	return failing
}

// collector turns the daemon's own counters into metrics when they are asked for.
type collector struct {
	d *Daemon

	mu     sync.Mutex // guards depths, again
	depths core.Depths
	again  time.Time // when to count again
}

var (
	metricEnvelopes  = metric("envelopes_total", "Envelopes received, by kind and result.", "kind", "result")
	metricPeers      = metric("peers", "Peers, by state.", "state")
	metricInbox      = metric("inbox_messages", "Messages in the inbox, by status: all or held.", "status")
	metricQueue      = metric("queue_depth", "What waits: outbox messages and notices for notifiers.", "queue")
	metricQueueAge   = metric("queue_oldest_seconds", "Age of the oldest message or notice that waits.", "queue")
	metricDead       = metric("deliveries_given_up", "Notices that were set aside, by notifier.", "notifier")
	metricDelivered  = metric("notifier_delivered_total", "Notices delivered, by notifier.", "notifier")
	metricFailing    = metric("notifier_failures", "Failures in a row, by notifier.", "notifier")
	metricCommits    = metric("store_commits_total", "Changes stored.")
	metricBatches    = metric("store_batches_total", "Transactions that stored changes.")
	metricCommitTime = metric("store_commit_seconds_total", "Time that transactions took, until they were on disk.")
	metricLastCommit = metric("store_last_commit_seconds", "Time that the last transaction took.")
	metricLastBatch  = metric("store_last_batch_size", "Changes in the last transaction.")
	metricStoreSize  = metric("store_bytes", "Size of the store on disk.")
	metricRefused    = metric("store_refused_total", "Changes that could not be stored.")
	metricSigning    = metric("signing", "1 while we can sign, 0 while our signer does not answer.")
	metricListsUp    = metric("store_read_up", "0 while lists are read from the store itself, as store_read is away or far behind.")
	metricListsLate  = metric("store_read_behind_seconds", "How far the database of store_read is behind.")
	metricPolicy     = metric("policy_questions_total", "Questions put to policies.")
	metricPolicyTime = metric("policy_seconds_total", "Time that policies took to answer.")
	metricPlugin     = metric("plugin_calls_total", "Calls of a plugin, ever.", "plugin")
	metricPluginBad  = metric("plugin_failures_total", "Calls of a plugin that failed, ever.", "plugin")
	metricPluginNo   = metric("plugin_refusals_total", "Messages and requests that a policy plugin refused, ever.", "plugin")
	metricPluginUp   = metric("plugin_ready", "Whether a plugin is ready.", "plugin")
	metricRegistered = metric("rendezvous_registered", "1 while we are registered with this rendezvous.", "url")
	metricRdvFails   = metric("rendezvous_failures", "Failed registrations in a row.", "url")
	metricInfo       = metric("info", "Always 1.", "version")
)

// metricDesc is what a metric is.
type metricDesc = prometheus.Desc

func metric(name, help string, labels ...string) *metricDesc {
	return prometheus.NewDesc("ogp_"+name, help, labels, nil)
}

// Describe says nothing, which makes the collector an unchecked one: what it has
// depends on peers and plugins.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// counting is a store that says what it does.
type counting interface {
	Stats() core.StoreStats
	Size() (int64, error)
}

// Counting reads tables: this often at the most, and in one part of so many of the time.
const depthsEvery, depthsShare = 5 * time.Second, 100

func (c *collector) counted() core.Depths {
	c.mu.Lock()
	defer c.mu.Unlock()
	if began := time.Now(); !began.Before(c.again) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		count := c.d.dispatcher.Depths
		if c.d.lists != nil {
			count = c.d.lists.Depths
		}
		if depths, err := count(ctx, 0); err == nil {
			c.depths, c.again = depths, began.Add(max(depthsEvery, depthsShare*time.Since(began)))
		}
	}
	return c.depths
}

// Collect gives the metrics as they are now.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	d := c.d
	gauge := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
	}
	count := func(desc *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, v, labels...)
	}
	gauge(metricInfo, 1, d.o.Version)
	for k, n := range d.gateway.Counters().Snapshot() {
		count(metricEnvelopes, float64(n), k[0], k[1])
	}
	gauge(metricSigning, boolean(d.key.Health() == nil))
	behind, away := d.behind()
	gauge(metricListsUp, boolean(away == nil))
	gauge(metricListsLate, behind.Seconds())
	questions, took := d.gateway.Counters().Policies()
	count(metricPolicy, float64(questions))
	count(metricPolicyTime, took.Seconds())
	states := map[core.Trust]int{core.Requested: 0, core.Pending: 0, core.Approved: 0, core.Rejected: 0, core.Removed: 0}
	for _, p := range d.gateway.Peers() {
		states[p.Trust]++
	}
	for state, n := range states {
		gauge(metricPeers, float64(n), string(state))
	}
	d.collectNodes(gauge, count)
	depths := c.counted()
	gauge(metricInbox, float64(depths.Inbox), "all")
	gauge(metricInbox, float64(depths.InboxHeld), "held")
	gauge(metricQueue, float64(depths.Outbox), "outbox")
	gauge(metricQueue, float64(depths.Deliveries), "deliveries")
	age := func(queue string, oldest time.Time) {
		seconds := 0.0
		if !oldest.IsZero() {
			seconds = time.Since(oldest).Seconds()
		}
		gauge(metricQueueAge, seconds, queue)
	}
	age("outbox", depths.OldestOutbox)
	age("deliveries", depths.OldestDelivery)
	for _, n := range d.dispatcher.Health() {
		count(metricDelivered, float64(n.Delivered), n.Name)
		gauge(metricFailing, float64(n.Failures), n.Name)
		gauge(metricDead, float64(depths.DeadByName[n.Name]), n.Name)
	}
	if s, ok := d.store.(counting); ok {
		stats := s.Stats()
		count(metricCommits, float64(stats.Commits))
		count(metricRefused, float64(stats.Refused))
		count(metricBatches, float64(stats.Batches))
		count(metricCommitTime, stats.TotalCommit.Seconds())
		gauge(metricLastCommit, stats.LastCommit.Seconds())
		gauge(metricLastBatch, float64(stats.LastBatch))
		if size, err := s.Size(); err == nil {
			gauge(metricStoreSize, float64(size))
		}
	}
	for _, p := range d.hooks.List() {
		count(metricPlugin, float64(p.Calls), p.Name)
		count(metricPluginBad, float64(p.Failures), p.Name)
		count(metricPluginNo, float64(p.Refusals), p.Name)
		gauge(metricPluginUp, boolean(p.State == hooks.StateReady), p.Name)
	}
	for _, s := range d.registrations() {
		if s.Elsewhere { // the node that registers us says how it stands
			continue
		}
		gauge(metricRegistered, boolean(s.Registered), s.URL)
		gauge(metricRdvFails, float64(s.Failures), s.URL)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
