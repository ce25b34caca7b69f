package api

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/record"
)

// InstallParams install a plugin as the operator was shown it.
type InstallParams struct {
	Name   string        `json:"name"`
	Source string        `json:"source"` // a file or folder
	Digest string        `json:"digest"` // of the files that the operator was shown
	Order  int           `json:"order"`
	Grants plugin.Grants `json:"grants"`
}

// PluginView is a plugin and what keeps it from its work.
type PluginView struct {
	hooks.View
	Problems []Problem `json:"problems,omitempty"` // the worst first
}

// PluginRef names a plugin; empty, where it may be, means all.
type PluginRef struct {
	Name string `json:"name"`
}

// TryParams ask whether the gateway would take up a configuration, and whether a notifier
// takes a test call then.
type TryParams struct {
	Name   string `json:"name,omitempty"`   // of the notifier; empty: the configuration alone
	Text   string `json:"text"`             // of the configuration file
	JSON   bool   `json:"json,omitempty"`   // the text is JSON, not TOML
	NoCall bool   `json:"noCall,omitempty"` // make no test call
}

// TryResult says which of a notifier's secrets the gateway cannot read.
type TryResult struct {
	Unread string `json:"unread,omitempty"`
}

// KVParams read or change a plugin's key-value store.
type KVParams struct {
	Plugin string `json:"plugin"`
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Set    bool   `json:"set,omitempty"`
	Delete bool   `json:"delete,omitempty"`
}

// DecisionsParams choose a page of what the policies have decided, or what they have
// decided about one message of the inbox.
type DecisionsParams struct {
	Since  time.Time `json:"since,omitzero"`
	Before string    `json:"before,omitempty"` // DecisionsPage.Next of the page before
	ID     string    `json:"id,omitempty"`     // of a message of the inbox, the end of it, or "last"
}

// DecisionsPage is a page of decisions.
type DecisionsPage struct {
	Decisions []DecisionView `json:"decisions"` // the newest first; then the messages of the inbox
	Next      string         `json:"next,omitempty"`
}

// DecisionView is a decision on record, or a message of the inbox that none is on
// record of.
type DecisionView struct {
	record.Decision `json:",inline"`
	Payload         core.Raw `json:"payload,omitempty"`  // of the message, as the inbox has it
	NotAsked        bool     `json:"notAsked,omitempty"` // no policy was asked, or it is not on record
}
