package core

import "time"

// Doubt marks a record that is removed by a notice which does not name us, and so
// may be somebody else's: it can be undone. docs/threat-model.md#t10
type Doubt struct {
	Was      Trust     `json:"was"`                // Approved, or Pending for a request that is perhaps withdrawn
	Since    time.Time `json:"since"`              // when it began
	Notice   time.Time `json:"notice,omitzero"`    // the newest notice's own time
	Heard    string    `json:"heard,omitempty"`    // the last that the peer said when asked: HeardNo, or nothing
	Notified bool      `json:"notified,omitempty"` // the agent has heard of it, or need not
}

// What a peer says when it is asked whether it has us approved.
const (
	HeardYes = "yes"
	HeardNo  = "no"
	HeardNil = "" // nothing that counts
)

// Hint says what a peer seems to have done. Several can be asked about together.
type Hint uint8

// The hints.
const (
	HintRemoval  Hint = 1 << iota // it seems to have removed us
	HintRequest                   // it seems to ask us, though it is approved or asked
	HintApproval                  // it seems to have approved us
)

// Asking is what we have asked a peer and are to ask it. It survives a restart with
// the record.
type Asking struct {
	Series  *Series `json:"series,omitempty"` // the one that is open
	Pending Hint    `json:"pending,omitzero"` // hints that came while one was open, or too many
	// Started are the times of the series that hints began within a day.
	Started []time.Time `json:"started,omitempty"`
	Next    time.Time   `json:"next,omitzero"` // in doubt and without a series: when to ask again
	// Immune is until when a removal hint changes nothing, as an earlier one was
	// refuted; ImmuneDays is how long that was, as it doubles.
	Immune     time.Time `json:"immune,omitzero"`
	ImmuneDays int       `json:"immuneDays,omitzero"`
	Notified   time.Time `json:"notified,omitzero"` // when the agent was last told of a removal in doubt
	// Confirm is when to ask whether an approval of ours has arrived; zero: not.
	Confirm time.Time `json:"confirm,omitzero"`
	// Ordered is when that approval was asked for: it is sent once more for a while only.
	Ordered time.Time `json:"ordered,omitzero"`
	// Resent says that an approval is on its way that was sent once more.
	Resent bool `json:"resent,omitempty"`
	// Removal is when the last removal notice came that proves nothing by itself, also
	// while we are immune: no approval from before it goes out.
	Removal time.Time `json:"removal,omitzero"`
	// Sure is when the peer last said that it has us approved, since our operator's last word.
	Sure time.Time `json:"sure,omitzero"`
}

// Series is a few rounds of asking about one or more hints.
type Series struct {
	About    Hint      `json:"about"`
	Revision uint64    `json:"revision"`         // of the record that the outcome is for
	From     time.Time `json:"from"`             // our answer to the hint
	Round    int       `json:"round"`            // how many are done
	Prompt   bool      `json:"prompt,omitempty"` // the first one is at once
	Heard    string    `json:"heard,omitempty"`
	Request  *Request  `json:"request,omitempty"` // for HintRequest: what it asked
}

// Notified is what a peer was last notified of us. Empty: nothing that we remember.
type Notified struct {
	URL   string `json:"url,omitempty"`
	Names Names  `json:"names,omitzero"`
	// Deaf says that the peer has no way to hear of other names.
	Deaf bool `json:"deaf,omitempty"`
}
