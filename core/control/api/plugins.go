package api

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/plugin"
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

// KVParams read or change a plugin's key-value store.
type KVParams struct {
	Plugin string `json:"plugin"`
	Key    string `json:"key,omitempty"`
	Value  string `json:"value,omitempty"`
	Set    bool   `json:"set,omitempty"`
	Delete bool   `json:"delete,omitempty"`
}

// ReplayParams choose a page of the inbox.
type ReplayParams struct {
	Since  time.Time `json:"since,omitzero"`
	Before string    `json:"before,omitempty"` // ids below this one
}

// ReplayPage is a page of messages that a policy can be asked about again.
type ReplayPage struct {
	Messages []ReplayMessage `json:"messages"` // the newest first
	Next     string          `json:"next,omitempty"`
}

// ReplayMessage is a message and the peer that it came from, as that is now.
type ReplayMessage struct {
	Message *core.InboxMessage `json:"message"`
	Peer    *core.Peer         `json:"peer"`
}
