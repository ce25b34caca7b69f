package ours

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// The tables of the configuration that the gateway reads as they are. core/config has
// them as its own and reads their tags, so that a setting stands here alone: its key,
// its form and its text at its field, its default in Defaults.

// Freshness is the [freshness] table.
type Freshness struct {
	Window   time.Duration `koanf:"window" unit:"duration" check:"1s.." doc:"How far a message's timestamp may differ from our clock, either way."`
	Remember time.Duration `koanf:"remember" unit:"duration" check:"24h.." doc:"How long a used nonce is remembered, so that the same message has no second effect. At least 24h, and twice the window."`
}

// Compat is the [compat] table.
type Compat struct {
	PlainRequests bool     `koanf:"plain_requests" doc:"Accept a federation request in the plain signed form of gateways before 0.7."`
	HostPortIDs   []string `koanf:"host_port_ids" unit:"list of host:port" check:"hostport" doc:"Old names of this gateway, host:port, that a message's \"to\" may carry."`
}

// Limits are the gateway's in the [limits] table.
type Limits struct {
	PendingTotal             int           `koanf:"pending_total" unit:"requests" check:"1.." doc:"Federation requests that may wait for a decision."`
	PendingPerNetworkPerHour int           `koanf:"pending_per_network_per_hour" unit:"requests per hour" check:"1.." doc:"New federation requests from one /24 (IPv4) or /48 (IPv6)."`
	PendingLife              time.Duration `koanf:"pending_life" unit:"duration" check:"1m.." doc:"How long a federation request waits before it is dropped."`
}

// Outbox is the [outbox] table.
type Outbox struct {
	GiveUp time.Duration `koanf:"give_up" unit:"duration" check:"1s.." doc:"How long a message is tried before it is given up."`
	First  time.Duration `koanf:"first_retry" unit:"duration" check:"1ms.." doc:"The wait after the first failure; it doubles with each."`
	Most   time.Duration `koanf:"max_retry" unit:"duration" check:"1ms.." doc:"The longest wait between two tries."`
}

// Inbox is the [inbox] table.
type Inbox struct {
	Keep time.Duration `koanf:"keep" unit:"duration" check:"1h.." doc:"How long a message is kept."`
}

// Replies is the [replies] table.
type Replies struct {
	Life time.Duration `koanf:"life" unit:"duration" check:"1s.." doc:"How long our answer can be polled, and how long the answer to a message of ours is awaited."`
}

// Health is the [health] table. A negative Interval checks nobody.
type Health struct {
	Interval time.Duration `koanf:"interval" unit:"duration" check:"1s.." doc:"The time between two checks of a peer."`
	Timeout  time.Duration `koanf:"timeout" unit:"duration" check:"1ms.." doc:"How long a check may take."`
	Failures int           `koanf:"failures" unit:"checks" check:"1.." doc:"Failed checks in a row that make a peer count as down."`
}

const day = 24 * time.Hour

// Defaults are the settings of an operator who chooses none.
func Defaults() Settings {
	return Settings{
		AgentID:   "main",
		Levels:    scope.Levels{Default: scope.LevelSummary, Topics: map[string]string{"general": scope.LevelSummary, "testing": scope.LevelFull}},
		Freshness: Freshness{Window: core.DefaultWindow, Remember: core.DefaultRemember},
		Compat:    Compat{PlainRequests: true, HostPortIDs: []string{}},
		Limits:    Limits{PendingTotal: 200, PendingPerNetworkPerHour: 5, PendingLife: 7 * day}, // docs/threat-model.md#t6
		Outbox:    Outbox{GiveUp: day, First: 2 * time.Second, Most: 15 * time.Minute},
		Inbox:     Inbox{Keep: 90 * day},
		Replies:   Replies{Life: day},
		Health:    Health{Interval: 5 * time.Minute, Timeout: 10 * time.Second, Failures: 3},
	}
}
