package peering

import "time"

// Reach is whether envelopes get through, one way.
type Reach string

// The reach states.
const (
	Unknown  Reach = "unknown"
	Up       Reach = "up"
	Degraded Reach = "degraded" // failing, but not often enough to call it down
	Down     Reach = "down"
)

// Check is the outcome of one try to reach a peer.
type Check string

// The outcomes.
const (
	Answered Check = "answered"
	Failed   Check = "failed"
	GaveUp   Check = "gave-up" // failed as often in a row as it takes to call it down
)

// reach is the table.
var reach = map[Reach]map[Check]Reach{
	Unknown:  {Answered: Up, Failed: Degraded, GaveUp: Down},
	Up:       {Answered: Up, Failed: Degraded, GaveUp: Down},
	Degraded: {Answered: Up, Failed: Degraded, GaveUp: Down},
	Down:     {Answered: Up, Failed: Down, GaveUp: Down},
}

// NextReach gives the state after a check.
func NextReach(from Reach, c Check) Reach {
	if from == "" {
		from = Unknown
	}
	return reach[from][c]
}

// Health is how a peer can be reached, each way. It is kept in memory: it is
// worth nothing after a restart.
type Health struct {
	Outbound    Reach     `json:"outbound"`
	LastCheck   time.Time `json:"lastCheck,omitzero"`   // our last try
	LastSuccess time.Time `json:"lastSuccess,omitzero"` // our last try that was answered
	LastFailure time.Time `json:"lastFailure,omitzero"`
	Failures    int       `json:"failures"`             // in a row
	LastError   string    `json:"lastError,omitempty"`  // of the last failure
	LastInbound time.Time `json:"lastInbound,omitzero"` // their last verified envelope or card request
}

// Checked changes the health by one check of ours. maxFailures in a row make it
// down.
func (h Health) Checked(err error, at time.Time, maxFailures int) Health {
	h.LastCheck = at
	if err == nil {
		h.LastSuccess, h.Failures, h.LastError = at, 0, ""
		h.Outbound = NextReach(h.Outbound, Answered)
		return h
	}
	h.LastFailure, h.LastError = at, err.Error()
	h.Failures++
	if h.Failures >= maxFailures {
		h.Outbound = NextReach(h.Outbound, GaveUp)
	} else {
		h.Outbound = NextReach(h.Outbound, Failed)
	}
	return h
}

// Word is the field's one-word status, derived from both ways: established,
// degraded-outbound, degraded-inbound or down; empty when nothing is known.
// inboundWithin is how old the last inbound contact may be.
func (h Health) Word(now time.Time, inboundWithin time.Duration) string {
	in := !h.LastInbound.IsZero() && now.Sub(h.LastInbound) <= inboundWithin
	switch {
	case h.Outbound == "" || h.Outbound == Unknown:
		return ""
	case h.Outbound == Down && !in:
		return "down"
	case h.Outbound != Up:
		return "degraded-outbound"
	case !in:
		return "degraded-inbound"
	}
	return "established"
}
