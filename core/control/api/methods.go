// Package api lists the methods of the local API: each is one line with its name
// and the types of its question and its answer. To add one, add its line here,
// its handler to core/daemon's list, and call it:
//
//	peers, err := api.Peers.Call(ctx, caller, api.PeersParams{})
//
// The names and members are for programs, too: "--json" prints the answers.
package api

import (
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/history"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/nodes"
)

// NodeView is one of the gateways that share a store.
type NodeView = nodes.View

// None is no parameters, or no result.
type None struct{}

// The methods.
const (
	Status          control.Method[None, StatusView]               = "status"
	Nodes           control.Method[None, []NodeView]               = "nodes"
	Whoami          control.Method[None, WhoamiView]               = "whoami"
	Doctor          control.Method[DoctorParams, []Check]          = "doctor"
	History         control.Method[history.Params, HistoryView]    = "history"
	Config          control.Method[ConfigParams, ConfigView]       = "config"
	ConfigSet       control.Method[SettingParams, SettingResult]   = "config.set"
	Stop            control.Method[None, None]                     = "stop"
	Console         control.Method[ConsoleParams, ConsoleView]     = "console"
	Peers           control.Method[PeersParams, []PeerView]        = "peers"
	PeersPage       control.Method[PeersParams, PeersPageView]     = "peers.page"
	Peer            control.Method[PeerRef, PeerView]              = "peer"
	Request         control.Method[RequestParams, RequestResult]   = "request"
	Approve         control.Method[ApproveParams, OutgoingView]    = "approve"
	Grant           control.Method[ApproveParams, OutgoingView]    = "grant"
	DefaultGrants   control.Method[None, []core.Grant]             = "grants.default"
	Reject          control.Method[EndParams, OutgoingView]        = "reject"
	Remove          control.Method[EndParams, RemoveResult]        = "remove"
	Forget          control.Method[EndParams, RemoveResult]        = "forget"
	UpdateIdentity  control.Method[PeerRef, UpdateResult]          = "update-identity"
	Alias           control.Method[AliasParams, PeerView]          = "alias"
	Tag             control.Method[TagParams, PeerView]            = "tag"
	Pause           control.Method[PauseParams, PeerView]          = "pause"
	Resume          control.Method[ResumeParams, ResumeResult]     = "resume"
	Level           control.Method[LevelParams, PeerView]          = "level"
	Send            control.Method[SendParams, OutgoingView]       = "send"
	Ping            control.Method[PingParams, PingResult]         = "ping"
	Inbox           control.Method[InboxParams, []InboxView]       = "inbox"
	InboxPage       control.Method[InboxParams, InboxPageView]     = "inbox.page"
	InboxMessage    control.Method[IDParams, InboxView]            = "inbox.message"
	InboxReply      control.Method[ReplyParams, OutgoingView]      = "inbox.reply"
	InboxRelease    control.Method[IDParams, InboxView]            = "inbox.release"
	InboxDeny       control.Method[DenyParams, OutgoingView]       = "inbox.deny"
	Outbox          control.Method[OutboxParams, []OutboxView]     = "outbox"
	OutboxPage      control.Method[OutboxParams, OutboxPageView]   = "outbox.page"
	Thread          control.Method[ThreadParams, ThreadView]       = "thread"
	OutboxItem      control.Method[IDParams, OutboxView]           = "outbox.item"
	OutboxRetry     control.Method[OutboxWhich, CountResult]       = "outbox.retry"
	OutboxCancel    control.Method[OutboxWhich, CountResult]       = "outbox.cancel"
	ExportPeers     control.Method[None, core.Raw]                 = "peers.export"
	Invite          control.Method[InviteParams, InviteView]       = "invite"
	Invites         control.Method[None, []InviteView]             = "invites"
	RevokeInvite    control.Method[CodeParams, None]               = "invite.revoke"
	Accept          control.Method[AcceptParams, AcceptResult]     = "accept"
	Connect         control.Method[AcceptParams, AcceptResult]     = "connect"
	Backup          control.Method[BackupParams, None]             = "backup"
	StoreKey        control.Method[StoreKeyParams, StoredKey]      = "key.store"
	Deliveries      control.Method[DeliveryParams, []DeliveryView] = "delivery"
	RetryDeliveries control.Method[DeliveryWhich, CountResult]     = "delivery.retry"
	DropDeliveries  control.Method[DeliveryWhich, CountResult]     = "delivery.drop"
	NotifierTest    control.Method[PluginRef, Problem]             = "notifier.test"
	NotifierTry     control.Method[TryParams, TryResult]           = "notifier.try"
	Plugins         control.Method[None, []PluginView]             = "plugins"
	PluginInstalled control.Method[None, []hooks.Installed]        = "plugin.installed"
	PluginInstall   control.Method[InstallParams, hooks.View]      = "plugin.install"
	PluginUpload    control.Method[UploadParams, UploadView]       = "plugin.upload"
	PluginUploaded  control.Method[UploadRef, UploadView]          = "plugin.uploaded"
	PluginDiscard   control.Method[UploadRef, None]                = "plugin.discard"
	PluginRemove    control.Method[PluginRef, None]                = "plugin.remove"
	PluginReload    control.Method[PluginRef, []PluginView]        = "plugin.reload"
	PolicyDecisions control.Method[DecisionsParams, DecisionsPage] = "policy.decisions"
	PolicyReplay    control.Method[ReplayParams, ReplayView]       = "policy.replay"
	Rules           control.Method[None, RulesView]                = "rules"
	RulesSet        control.Method[RulesParams, RulesView]         = "rules.set"
	PluginKV        control.Method[KVParams, map[string]any]       = "plugin.kv"
)

// The streams.
const (
	Events control.Stream[EventParams, EventView] = "events"
)
