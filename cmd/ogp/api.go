package main

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// The parameters of the calls that commands make to the daemon.

type peerRef struct {
	Peer string `json:"peer"`
}

type requestParams struct {
	URL   string `json:"url"`
	Alias string `json:"alias,omitempty"`
	Key   string `json:"key,omitempty"` // the key that the card must have
	Again bool   `json:"again,omitempty"`
}

type requestResult struct {
	Peer   peerView `json:"peer"`
	Status string   `json:"status"`
}

type approveParams struct {
	Peer   string       `json:"peer"`
	Alias  string       `json:"alias,omitempty"`
	Grants []core.Grant `json:"grants,omitempty"`
}

type removeResult struct {
	Peer     peerView   `json:"peer"`
	Notified bool       `json:"notified"`
	Error    *errorView `json:"error,omitempty"`
}

type aliasParams struct {
	Peer  string `json:"peer"`
	Alias string `json:"alias"`
}

type levelParams struct {
	Peer  string `json:"peer"`
	Topic string `json:"topic,omitempty"`
	Level string `json:"level"`
}

type sendParams struct {
	Peer           string   `json:"peer"`
	Intent         string   `json:"intent"`
	Payload        core.Raw `json:"payload,omitempty"`
	ToAgent        string   `json:"toAgent,omitempty"`
	ConversationID string   `json:"conversationId,omitempty"`
	WantReply      bool     `json:"wantReply,omitempty"`
	Now            bool     `json:"now,omitempty"`
	WaitMillis     int64    `json:"waitMillis,omitempty"` // for the reply; 0: do not wait
}

type pingParams struct {
	Target string `json:"target"` // a URL or a peer
}

type pingResult struct {
	core.Pong  `json:",inline"`
	URL        string  `json:"url"`
	TookMillis float64 `json:"tookMillis"`
}

type inboxParams struct {
	Peer   string           `json:"peer,omitempty"`
	Status core.InboxStatus `json:"status,omitempty"`
	Intent string           `json:"intent,omitempty"`
	Since  time.Time        `json:"since,omitzero"`
	Limit  int              `json:"limit,omitempty"`
}

type idParams struct {
	ID string `json:"id"`
}

type replyParams struct {
	ID    string   `json:"id"`
	Data  core.Raw `json:"data,omitempty"`
	Error string   `json:"error,omitempty"`
}

type outboxParams struct {
	Peer  string           `json:"peer,omitempty"`
	State core.OutboxState `json:"state,omitempty"`
	Limit int              `json:"limit,omitempty"`
}

type peersParams struct {
	Status core.Trust `json:"status,omitempty"`
}

type eventParams struct {
	After string    `json:"after,omitempty"` // the kept events after this id come first
	Since time.Time `json:"since,omitzero"`  // the kept events from then on come first
	Kept  bool      `json:"kept,omitempty"`  // no more than the kept ones
	Types []string  `json:"types,omitempty"` // only these, or those below them: "federation"
	Peer  string    `json:"peer,omitempty"`  // only about this peer
}
