package api

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// InstallParams install a plugin as the operator was shown it.
type InstallParams struct {
	Name   string `json:"name"`
	Source string `json:"source,omitempty"` // a file or folder
	Upload string `json:"upload,omitempty"` // UploadView.ID, in place of Source and Digest
	Digest string `json:"digest,omitempty"` // of the files that the operator was shown
	// NoCases installs an upload although cases of it fail.
	NoCases bool `json:"noCases,omitempty"`

	Order  int           `json:"order"`
	Grants plugin.Grants `json:"grants"`
}

// UploadParams carry a plugin to the gateway, which shows what it is and keeps it for an
// hour. Nothing is installed.
type UploadParams struct {
	Module   []byte            `json:"module"`             // base64
	Manifest string            `json:"manifest,omitempty"` // the text of its plugin.toml
	Cases    map[string]string `json:"cases,omitempty"`    // by the names of their files
}

// UploadRef names an upload.
type UploadRef struct {
	ID string `json:"id"`
}

// UploadView is a plugin that was uploaded: what it is, what it asks for, what is granted
// now to the one of its name, and what came of its self-tests and cases.
type UploadView struct {
	ID          string            `json:"id"`   // of its files; of the same ones it is the same
	Name        string            `json:"name"` // its manifest's
	Version     string            `json:"version,omitempty"`
	Description string            `json:"description,omitempty"`
	Author      string            `json:"author,omitempty"`
	Kind        plugin.ModuleKind `json:"kind"`
	Hooks       []plugin.Hook     `json:"hooks"`
	Intents     []string          `json:"intents,omitempty"`
	Size        int               `json:"size"` // bytes
	SHA256      string            `json:"sha256"`
	Asks        AsksView          `json:"asks"`
	Needless    bool              `json:"needless,omitempty"` // it asks for requests, which what decides from its input alone cannot make
	Now         *hooks.Installed  `json:"now,omitempty"`      // what is installed under its name
	Difference  hooks.Difference  `json:"difference"`
	Taken       *ErrorView        `json:"taken,omitempty"` // why its name is none for an installed plugin
	SelfTests   int               `json:"selfTests"`
	Error       *ErrorView        `json:"error,omitempty"` // why it does not load, or which self-test fails
	Cases       trial.TestView    `json:"cases"`
}

// RulesParams put a text of [[rules]] into the configuration file, in place of those that it
// has, and in force. Empty: none.
type RulesParams struct {
	Text  string `json:"text"`
	Check bool   `json:"check,omitempty"` // only say whether it could be done
}

// RulesView is the rules of the configuration file.
type RulesView struct {
	File  string `json:"file"`
	Text  string `json:"text"`  // as they are written, with the comments above each
	Rules int    `json:"rules"` // how many are in force
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
