package api

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// Candidate is what the policies are asked with, in place of what is in force. The zero
// value is what is in force.
type Candidate struct {
	Rules    string `json:"rules,omitempty"`    // a text with [[rules]], in place of the rules
	Module   []byte `json:"module,omitempty"`   // in place of the plugin of its name, or beside all; base64
	Manifest string `json:"manifest,omitempty"` // the text of the module's plugin.toml
	Upload   string `json:"upload,omitempty"`   // UploadView.ID of a module, in place of its bytes
}

// ReplayParams ask the policies again about what has come.
type ReplayParams struct {
	Candidate `json:",inline"`
	Since     time.Time `json:"since,omitzero"` // zero: all that is on record
}

// ReplayView is what would have become of what has come.
type ReplayView struct {
	With      string         `json:"with,omitempty"` // the candidate, as whoever asked calls it
	Since     time.Time      `json:"since,omitzero"`
	Decisions int            `json:"decisions"` // that were asked about again
	Withheld  int            `json:"withheld"`  // that could not be, as their payload is not on record
	LeftOut   bool           `json:"leftOut"`   // there were more than one replay takes; the oldest are left out
	Same      int            `json:"same"`
	Changed   []ChangedView  `json:"changed"` // those with most first
	Then      map[string]int `json:"then"`    // how many of each fate
	Now       map[string]int `json:"now"`
	OverTime  []BucketView   `json:"overTime"` // the oldest first, one after the other without a gap
	Policies  []PaceView     `json:"policies"`
}

// The fates of messages and requests.
const (
	FateAllowed  = "allowed"
	FateApproved = "approved"
	FateWaits    = "waits" // a request that a person decides about
	FateHeld     = "held"
	FateRefused  = "refused"
	FateFailed   = "failed" // the policies could not say
)

// Fates are all of them, the mildest first.
var Fates = []string{FateAllowed, FateApproved, FateWaits, FateHeld, FateRefused, FateFailed}

// ChangedView are those whose fate changes in the same way.
type ChangedView struct {
	Count    int           `json:"count"`
	Kind     core.Hook     `json:"kind"`
	From     string        `json:"from"`
	Intent   string        `json:"intent,omitempty"`
	Then     string        `json:"then"`
	Now      string        `json:"now"`
	Policy   string        `json:"policy,omitempty"` // that decides now, or where none does: that decided then
	Rule     string        `json:"rule,omitempty"`
	Examples []ExampleView `json:"examples"`
}

// ExampleView is one of those whose fate changes.
type ExampleView struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// BucketView is a piece of the window: how many of each fate there were, and would be.
type BucketView struct {
	From time.Time      `json:"from"`
	Then map[string]int `json:"then"`
	Now  map[string]int `json:"now"`
}

// PaceView is how long a policy took, and what its calls cost.
type PaceView struct {
	Policy      string `json:"policy"`
	plugin.Pace `json:",inline"`
}
