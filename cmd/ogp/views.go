package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/peering"
	"github.com/opengatewayprotocol/ogp/core/rendezvous"
)

// peerView is a peer as commands show it, with stable names for --json.
type peerView struct {
	Name         string            `json:"name"` // how we call it: alias, else fingerprint
	Alias        string            `json:"alias,omitempty"`
	Fingerprint  string            `json:"fingerprint"`
	ID           string            `json:"id"`
	PublicKey    core.PublicKey    `json:"publicKey"`
	State        core.Trust        `json:"state"`
	By           string            `json:"by,omitempty"`
	Since        time.Time         `json:"since,omitzero"`
	URL          string            `json:"gatewayUrl"`
	Unverified   core.Names        `json:"unverified"` // what it says of itself
	Warning      string            `json:"warning,omitempty"`
	RequestedAt  time.Time         `json:"requestedAt,omitzero"`
	ApprovedAt   time.Time         `json:"approvedAt,omitzero"`
	RejectedAt   time.Time         `json:"rejectedAt,omitzero"`
	RemovedAt    time.Time         `json:"removedAt,omitzero"`
	Offered      []string          `json:"offeredIntents,omitempty"`
	Granted      []grantView       `json:"granted,omitempty"`
	Received     []core.Grant      `json:"received,omitempty"`
	Levels       map[string]string `json:"levels,omitempty"`
	DefaultLevel string            `json:"defaultLevel,omitempty"`
	Signature    string            `json:"signature"` // v2 or legacy
	Version      string            `json:"version,omitempty"`
	Features     []string          `json:"features,omitempty"`
	Health       healthView        `json:"health"`
	History      []core.Transition `json:"history,omitempty"`
}

type grantView struct {
	core.Grant `json:",inline"`
	Used       int `json:"used"` // of the rate, in its window, now
}

type healthView struct {
	Word           string `json:"word,omitempty"`
	peering.Health `json:",inline"`
	LastContact    time.Time `json:"lastContact,omitzero"` // either way
}

// said is what a peer calls itself, for people: in quotes, as nobody vouches for
// it.
func (p peerView) said() string {
	name := cmp.Or(p.Unverified.DisplayName, p.Unverified.AgentName, p.Unverified.HumanName)
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%q", name)
}

// handle is what a user can type to name the peer.
func (p peerView) handle() string { return cmp.Or(p.Alias, p.Fingerprint) }

// outgoingView is what came of a message of ours.
type outgoingView struct {
	Peer     peerView          `json:"peer"`
	ID       string            `json:"id,omitempty"`
	Nonce    core.Nonce        `json:"nonce,omitempty"`
	State    string            `json:"state"` // sent, waiting, refused, expired, none
	Attempts int               `json:"attempts"`
	Error    *errorView        `json:"error,omitempty"`
	Next     time.Time         `json:"next,omitzero"`
	GiveUp   time.Time         `json:"giveUp,omitzero"`
	Answer   core.Raw          `json:"answer,omitempty"`
	Reply    *core.StoredReply `json:"reply,omitempty"`
}

type inboxView struct {
	core.InboxMessage `json:",inline"`
	From              string `json:"from"` // our name for the peer
	Fingerprint       string `json:"fingerprint"`
	Text              string `json:"text"` // one line of the payload
}

type outboxView struct {
	core.OutboxItem `json:",inline"`
	To              string            `json:"to"`
	Reply           *core.StoredReply `json:"theirReply,omitempty"`
}

type statusView struct {
	Running     bool                `json:"running"`
	PID         int                 `json:"pid"`
	Version     string              `json:"version"`
	Started     time.Time           `json:"started"`
	StateDir    string              `json:"stateDir"`
	Log         string              `json:"log"`            // a file, or journal, or stderr
	Unit        string              `json:"unit,omitempty"` // for journal: the arguments of journalctl that show it
	ConfigFile  string              `json:"configFile,omitempty"`
	Listen      string              `json:"listen"`
	GatewayURL  string              `json:"gatewayUrl"`
	CardURL     string              `json:"cardUrl"`
	Fingerprint string              `json:"fingerprint"`
	PublicKey   core.PublicKey      `json:"publicKey"`
	DisplayName string              `json:"displayName"`
	Peers       map[string]int      `json:"peers"`  // by state
	Health      map[string]int      `json:"health"` // of the approved ones, by word
	Ailing      []ailingView        `json:"ailing,omitempty"`
	Depths      core.Depths         `json:"queues"`
	Notifiers   []delivery.Health   `json:"notifiers"`
	Rendezvous  []rendezvous.Status `json:"rendezvous,omitempty"`
	NotReady    []notReadyView      `json:"pluginsNotReady,omitempty"`
	LastErrors  []eventView         `json:"lastErrors,omitempty"` // of the last day, the newest first
	Warnings    []string            `json:"warnings,omitempty"`
}

type whoamiView struct {
	DisplayName string         `json:"displayName"`
	Email       string         `json:"email,omitempty"`
	GatewayURL  string         `json:"gatewayUrl"`
	CardURL     string         `json:"cardUrl"`
	Fingerprint string         `json:"fingerprint"`
	ID          string         `json:"id"`
	PublicKey   core.PublicKey `json:"publicKey"`
}

// ago says how long ago a time was, for people.
func ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(max(d, 0).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

func until(t time.Time) string {
	d := time.Until(t)
	if d <= 0 {
		return "now"
	}
	if d < time.Minute {
		return fmt.Sprintf("in %ds", int(d.Seconds())+1)
	}
	if d < 48*time.Hour {
		return "in " + d.Round(time.Minute).String()
	}
	return fmt.Sprintf("in %dd", int(d.Hours()/24))
}

// dash shows that a column is empty.
func dash(s string) string { return cmp.Or(s, "-") }

func grantLine(g grantView) string {
	rate := core.DefaultRate
	if g.RateLimit != nil {
		rate = *g.RateLimit
	}
	line := fmt.Sprintf("%s  %d of %d in %s", safeLine(g.Intent), g.Used, rate.Requests, period(rate.Window()))
	if len(g.Topics) > 0 {
		line += "  topics " + safeLine(strings.Join(g.Topics, ","))
	}
	if len(g.Personas) > 0 {
		line += "  agents " + safeLine(strings.Join(g.Personas, ","))
	}
	if g.ExpiresAt != "" {
		line += "  until " + safeLine(g.ExpiresAt)
	}
	if !g.Enabled {
		line += "  (off)"
	}
	return line
}

// period writes a duration without units that are zero: 1h, 90s, 1h30m.
func period(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
