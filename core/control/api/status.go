package api

import (
	"slices"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// What restarts a gateway that is no service, in words: one in the background, and one in
// the foreground, of which only whoever started it knows how.
const (
	RestartByHand       = `"ogp stop", then "ogp start --background"`
	RestartInForeground = `"ogp stop", then start it again as you did`
)

// StatusView is the state of the running gateway.
type StatusView struct {
	Running     bool                `json:"running"`
	PID         int                 `json:"pid"`
	Version     string              `json:"version"`
	Started     time.Time           `json:"started"`
	StateDir    string              `json:"stateDir"`
	Log         string              `json:"log"`               // a file, or journal, or stderr
	Unit        string              `json:"unit,omitempty"`    // for journal: the arguments of journalctl that show it
	Restart     string              `json:"restart,omitempty"` // what restarts the daemon, in words
	ConfigFile  string              `json:"configFile,omitempty"`
	Listen      string              `json:"listen"`
	GatewayURL  string              `json:"gatewayUrl"`
	CardURL     string              `json:"cardUrl"`
	Fingerprint string              `json:"fingerprint"`
	PublicKey   core.PublicKey      `json:"publicKey"`
	DisplayName string              `json:"displayName"`
	Peers       map[string]int      `json:"peers"`  // by state
	Health      map[string]int      `json:"health"` // of the approved ones, by word
	Ailing      []AilingView        `json:"ailing,omitempty"`
	Paused      []string            `json:"paused,omitempty"`  // names of peers whose messages are held
	Budgets     []SpentView         `json:"budgets,omitempty"` // the peers whose messages have cost the most within 24 hours
	Depths      core.Depths         `json:"queues"`
	Notifiers   []NotifierView      `json:"notifiers"`
	Rendezvous  []rendezvous.Status `json:"rendezvous,omitempty"`
	Plugins     []PluginState       `json:"plugins,omitempty"`    // those that have a problem, or are not ready
	LastErrors  []EventView         `json:"lastErrors,omitempty"` // of the last day, the newest first
	Warnings    []string            `json:"warnings,omitempty"`
}

// SpentView is what a peer's messages of an intent have cost.
type SpentView struct {
	Name       string `json:"name"`
	BudgetView `json:",inline"`
}

// AilingView is a peer that we do not reach.
type AilingView struct {
	Name        string    `json:"name"`
	Word        string    `json:"word"`
	LastContact time.Time `json:"lastContact,omitzero"`
	Error       string    `json:"error,omitempty"`
}

// Problem is what keeps a part from its work (fail), or may (warn).
type Problem struct {
	State string `json:"state"` // fail, warn
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // the command or the line that fixes it
}

// NotifierView is how a notifier does.
type NotifierView struct {
	delivery.Health
	Waiting  int       `json:"waiting"`
	GivenUp  int       `json:"givenUp"`
	Problems []Problem `json:"problems,omitempty"` // the worst first
}

// Works reports whether nothing keeps the notifier from its work.
func (v NotifierView) Works() bool {
	return !slices.ContainsFunc(v.Problems, func(p Problem) bool { return p.State == CheckFail })
}

// PluginState is a plugin that does not do its work, or may not.
type PluginState struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	Problems []Problem `json:"problems,omitempty"` // the worst first
}

// DoctorParams say what the daemon is to look at.
type DoctorParams struct {
	Peer     string   `json:"peer,omitempty"`     // only this peer
	TestCall bool     `json:"testCall,omitempty"` // of each notifier
	Only     []string `json:"only,omitempty"`     // names of checks; empty: all
}

// Check is one thing that the doctor has looked at.
type Check struct {
	Name  string `json:"name"`
	State string `json:"state"` // ok, warn, fail
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // the command or the line that fixes it
}

// The states of a check.
const (
	CheckOK   = "ok"
	CheckWarn = "warn" // look at it; things go on
	CheckFail = "fail" // something does not work until it is fixed
)

// Wants reports whether a check of this name is asked for.
func (p DoctorParams) Wants(name string) bool {
	return len(p.Only) == 0 || slices.Contains(p.Only, name)
}
