package console

import (
	"net/http"
	"runtime"

	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/history"
)

// chartStep is how many minutes a point of a chart has.
const chartStep = 20

// healthPage is how the gateway and its parts do.
type healthPage struct {
	Status   api.StatusView
	Doctor   looked
	Warnings []string // of the status, which the doctor has not found as well
	History  api.HistoryView
	Charts   []chart
	Memory   uint64 // bytes that the program uses
	Threads  int
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) (err error) {
	var p healthPage
	if p.Status, err = api.Status.Call(r.Context(), s.o.Caller, api.None{}); err != nil {
		return err
	}
	if p.History, err = api.History.Call(r.Context(), s.o.Caller, history.Params{Step: chartStep, Peers: 1}); err != nil {
		return err
	}
	p.Doctor = s.doctor.last(s, r.URL.Query().Has("look"))
	p.Warnings = p.Doctor.others(p.Status.Warnings)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.Memory, p.Threads = m.Sys-m.HeapReleased, runtime.NumGoroutine()
	p.Charts = chartsOf(p.History.Points)
	return s.render(w, r, "health", "Health", p)
}

// chartsOf are the charts of a history.
func chartsOf(points []history.Point) []chart {
	of := func(f func(history.Point) float64) []float64 {
		out := make([]float64, len(points))
		for i, p := range points {
			out[i] = f(p)
		}
		return out
	}
	list := []chart{
		{ID: "envelopes", Title: "Envelopes", Series: []series{
			{"accepted", "good", of(func(p history.Point) float64 { return float64(p.Accepted) })},
			{"held", "warn", of(func(p history.Point) float64 { return float64(p.Held) })},
			{"refused", "bad", of(func(p history.Point) float64 { return float64(p.Refused) })},
			{"sent", "act", of(func(p history.Point) float64 { return float64(p.Sent) })}}},
		{ID: "decisions", Title: "Time of a policy's answer", Unit: "ms", Series: []series{
			{"mean", "act", of(func(p history.Point) float64 { return p.QuestionMillis })}}},
		{ID: "queues", Title: "Waiting", Series: []series{
			{"for peers", "act", of(func(p history.Point) float64 { return float64(p.Outbox) })},
			{"for notifiers", "warn", of(func(p history.Point) float64 { return float64(p.Deliveries) })},
			{"held for you", "bad", of(func(p history.Point) float64 { return float64(p.Waiting) })}}},
		{ID: "ages", Title: "Age of the oldest that waits", Unit: "s", Series: []series{
			{"for peers", "act", of(func(p history.Point) float64 { return float64(p.OutboxAge) })},
			{"for notifiers", "warn", of(func(p history.Point) float64 { return float64(p.DeliveryAge) })}}},
		{ID: "store", Title: "Time that the store takes for a commit", Unit: "ms", Series: []series{
			{"mean", "act", of(func(p history.Point) float64 { return p.CommitMillis })}}},
	}
	for i := range list {
		for _, p := range points {
			list[i].At, list[i].Known = append(list[i].At, p.At), append(list[i].Known, p.Known)
		}
	}
	return list
}
