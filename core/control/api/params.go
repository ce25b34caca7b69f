package api

import (
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// PeerRef names a peer: by alias, fingerprint, id or key, or the beginning of one.
type PeerRef struct {
	Peer string `json:"peer"`
}

// EndParams name a peer whose request or federation is to end, or whose record is.
type EndParams struct {
	Peer  string `json:"peer"`
	Check bool   `json:"check,omitempty"` // only say whether it could be done
	Later bool   `json:"later,omitempty"` // do not wait until the peer has been told
}

// RequestParams say whom to ask for federation.
type RequestParams struct {
	URL   string `json:"url"`
	Alias string `json:"alias,omitempty"`
	Key   string `json:"key,omitempty"` // the key that the card must have
	Again bool   `json:"again,omitempty"`
}

// RequestResult is what the other gateway answered to a request.
type RequestResult struct {
	Peer   PeerView `json:"peer"`
	Status string   `json:"status"`
	// Confirmed says that no request was sent, as the peer says it has approved us.
	Confirmed bool `json:"confirmed,omitempty"`
	// Waits says that the peer has our request already, and has not approved us.
	Waits bool `json:"waits,omitempty"`
	// Approve is what names us in the command by which the peer's operator approves.
	Approve string `json:"approve,omitempty"`
	// Approval is what came of telling a peer that had asked, and is approved by this.
	Approval *OutgoingView `json:"approval,omitempty"`
}

// ApproveParams approve a peer, or change its grants.
type ApproveParams struct {
	Peer   string       `json:"peer"`
	Alias  string       `json:"alias,omitempty"`
	Grants []core.Grant `json:"grants,omitempty"`
}

// RemoveResult says whether the removed peer was notified; Error is why not.
type RemoveResult struct {
	Peer     PeerView   `json:"peer"`
	Notified bool       `json:"notified"`
	Error    *ErrorView `json:"error,omitempty"`
}

// UpdateResult says what came of telling peers where we are and what we are called.
type UpdateResult struct {
	Notified []string              `json:"notified,omitempty"` // names of peers
	Failed   map[string]*ErrorView `json:"failed,omitempty"`   // by name of peer
}

// AliasParams give a peer a name of ours; an empty alias takes it away.
type AliasParams struct {
	Peer  string `json:"peer"`
	Alias string `json:"alias"`
}

// TagParams add tags to a peer, and take others away.
type TagParams struct {
	Peer string   `json:"peer"`
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

// LevelParams set how openly the agent answers; an empty level takes it away, and no topic means all without their own.
type LevelParams struct {
	Peer  string `json:"peer"`
	Topic string `json:"topic,omitempty"`
	Level string `json:"level"`
}

// PauseParams keep what a peer sends from the agent.
type PauseParams struct {
	Peer   string `json:"peer"`
	Reason string `json:"reason,omitempty"`
}

// ResumeParams let a peer's messages through again.
type ResumeParams struct {
	Peer    string `json:"peer"`
	Release bool   `json:"release,omitempty"` // also those that the brake has held
}

// ResumeResult says how many of the peer's messages the brake still holds, and how many were let through.
type ResumeResult struct {
	Peer     PeerView `json:"peer"`
	Held     int      `json:"held"`
	Released int      `json:"released"`
}

// SendParams are a message to a peer.
type SendParams struct {
	Peer           string   `json:"peer"`
	Intent         string   `json:"intent"`
	Payload        core.Raw `json:"payload,omitempty"`
	ToAgent        string   `json:"toAgent,omitempty"`
	ConversationID string   `json:"conversationId,omitempty"`
	WantReply      bool     `json:"wantReply,omitempty"`
	Now            bool     `json:"now,omitempty"`
	WaitMillis     int64    `json:"waitMillis,omitempty"` // for the reply; 0: do not wait
}

// PingParams name whom to ping.
type PingParams struct {
	Target string `json:"target"` // a URL or a peer
}

// PingResult is what answered, where, and how long it took.
type PingResult struct {
	core.Pong  `json:",inline"`
	URL        string  `json:"url"`
	TookMillis float64 `json:"tookMillis"`
}

// InboxParams choose messages of the inbox, the newest first. Zero fields choose all.
type InboxParams struct {
	Peer   string           `json:"peer,omitempty"`
	Status core.InboxStatus `json:"status,omitempty"`
	Intent string           `json:"intent,omitempty"`
	Since  time.Time        `json:"since,omitzero"`
	Before string           `json:"before,omitempty"` // those that stand before this id in time
	Search string           `json:"search,omitempty"` // those with all of these words: a bounded look
	Limit  int              `json:"limit,omitempty"`
}

// IDParams name a message by its id, the end of it, or "last".
type IDParams struct {
	ID string `json:"id"`
}

// ReplyParams answer a message, with Data or with an Error.
type ReplyParams struct {
	ID    string   `json:"id"`
	Data  core.Raw `json:"data,omitempty"`
	Error string   `json:"error,omitempty"`
}

// OutboxParams choose what was sent or waits, the newest first. Zero fields choose all.
type OutboxParams struct {
	Peer   string           `json:"peer,omitempty"`
	State  core.OutboxState `json:"state,omitempty"`
	Before string           `json:"before,omitempty"` // those made before the one of this id
	Search string           `json:"search,omitempty"` // those with all of these words: a bounded look
	Limit  int              `json:"limit,omitempty"`
}

// ThreadParams name a peer, and choose what passed between us.
type ThreadParams struct {
	Peer         string `json:"peer"`
	Conversation string `json:"conversation,omitempty"` // only what belongs to it
	Before       string `json:"before,omitempty"`       // the Next of the page before
	Search       string `json:"search,omitempty"`       // those with all of these words: a bounded look
	Limit        int    `json:"limit,omitempty"`
}

// OutboxWhich chooses envelopes of ours: one by its id or the end of it, or all that wait for a
// peer, or all that wait.
type OutboxWhich struct {
	ID   string `json:"id,omitempty"`
	Peer string `json:"peer,omitempty"`
	All  bool   `json:"all,omitempty"`
}

// DenyParams turn a held message down.
type DenyParams struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
}

// DeliveryParams choose what notifiers are owed: without All only what was set aside.
type DeliveryParams struct {
	Notifier string `json:"notifier,omitempty"`
	All      bool   `json:"all,omitempty"`
	After    string `json:"after,omitempty"`
	Limit    int    `json:"limit,omitempty"`
}

// DeliveryWhich chooses what was set aside: of one event, of one notifier, or all of it.
type DeliveryWhich struct {
	Event    string `json:"event,omitempty"`
	Notifier string `json:"notifier,omitempty"`
	All      bool   `json:"all,omitempty"`
}

// CountResult is how many were changed.
type CountResult struct {
	Count int `json:"count"`
	// Behind is how many of them wait for their turn: earlier ones to the same peer go first.
	Behind int `json:"behind,omitzero"`
}

// PeersParams choose peers, the longest known first. Zero fields choose all.
type PeersParams struct {
	Status  core.Trust `json:"status,omitempty"`
	Tag     string     `json:"tag,omitempty"`
	Search  string     `json:"search,omitempty"`  // those with all of these words in what they are called, or where they are
	Trouble bool       `json:"trouble,omitempty"` // those that we do not reach well, that are paused, or have a warning
	After   string     `json:"after,omitempty"`   // the Next of the page before
	Limit   int        `json:"limit,omitempty"`   // 0: all
}

// EventParams choose events.
type EventParams struct {
	After string    `json:"after,omitempty"` // the kept events after this id come first
	Since time.Time `json:"since,omitzero"`  // the kept events from then on come first
	Kept  bool      `json:"kept,omitempty"`  // no more than the kept ones
	Types []string  `json:"types,omitempty"` // only these, or those below them: "federation"
	Peer  string    `json:"peer,omitempty"`  // only about this peer
}

// InviteParams are what an invite is to be. Zero fields are the defaults of the rendezvous.
type InviteParams struct {
	Uses          int          `json:"uses,omitempty"`
	ExpiresMillis int64        `json:"expiresMillis,omitempty"`
	Approve       bool         `json:"approve,omitempty"`
	Grants        []core.Grant `json:"grants,omitempty"`
}

// CodeParams name an invite.
type CodeParams struct {
	Code string `json:"code"`
}

// AcceptParams name the gateway to find through the rendezvous.
type AcceptParams struct {
	Ref   string `json:"ref"` // a code, a long code, a link, or a public key
	Alias string `json:"alias,omitempty"`
}

// AcceptResult is what came of finding a gateway and asking it.
type AcceptResult struct {
	RequestResult `json:",inline"`
	Code          string `json:"code,omitempty"`
	Verified      bool   `json:"verified"` // the peer itself has signed where it is
	Rendezvous    string `json:"rendezvous,omitempty"`
	Approves      bool   `json:"approves,omitempty"` // the invite approves by itself
}

// StoreKeyParams say how our key is sealed in the store.
type StoreKeyParams struct {
	PassphraseFile string `json:"passphraseFile,omitempty"` // absolute; empty: the configured passphrase
}

// StoredKey is our key as the store has it, sealed, in the form of its file.
type StoredKey struct {
	Sealed string `json:"sealed"`
}

// BackupParams say where the copy of the store goes.
type BackupParams struct {
	Path string `json:"path"`
}

// ConsoleParams ask for the console; End closes it, and ends every session.
type ConsoleParams struct {
	End bool `json:"end,omitempty"`
	UID *int `json:"uid,omitempty"` // the account of this machine whose browser is to show the code; nil: any that has it
}
