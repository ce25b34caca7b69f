package daemon

// What one node of several says of the others, and of the work that one alone does at a
// time. A gateway that has its store for itself is one node, behind by nothing.
//
// docs/scaling.md#what-fails-and-what-it-looks-like
var (
	metricNodes    = metric("nodes", "Nodes that this one sees, itself included, by whether they take work.", "state")
	metricWorks    = metric("node_works", "1 while this node takes work, 0 while it differs from the others or has not seen them.")
	metricLag      = metric("store_lag_seconds", "How far this node's memory is behind the database.")
	metricLeases   = metric("leases_held", "Leases that this node has.")
	metricLost     = metric("leases_lost_total", "Leases of this node that ended against its will.")
	metricOvertook = metric("store_fenced_total", "Changes that the store refused, as another node had taken their lease.")
)

func (d *Daemon) collectNodes(gauge, count func(name *metricDesc, v float64, labels ...string)) {
	work, differ := d.nodes.Count()
	gauge(metricNodes, float64(work), "works")
	gauge(metricNodes, float64(differ), "differs")
	gauge(metricWorks, boolean(d.nodes.Works()))
	gauge(metricLag, d.gateway.Lag().Seconds())
	gauge(metricLeases, float64(len(d.leases.Held())))
	count(metricLost, float64(d.leases.Losses()))
	if s, ok := d.store.(counting); ok {
		count(metricOvertook, float64(s.Stats().Fenced))
	}
}
