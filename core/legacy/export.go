package legacy

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// exported is a record of peers.json as the TypeScript gateways write it, with
// one member more.
type exported struct {
	ID              string             `json:"id"`
	Alias           string             `json:"alias,omitempty"`
	DisplayName     string             `json:"displayName"`
	Email           string             `json:"email"`
	GatewayURL      string             `json:"gatewayUrl"`
	PublicKey       string             `json:"publicKey"`
	HumanName       string             `json:"humanName,omitempty"`
	AgentName       string             `json:"agentName,omitempty"`
	Organization    string             `json:"organization,omitempty"`
	Status          core.Trust         `json:"status"`
	RequestedAt     string             `json:"requestedAt,omitempty"`
	ApprovedAt      string             `json:"approvedAt,omitempty"`
	RejectedAt      string             `json:"rejectedAt,omitempty"`
	RemovedAt       string             `json:"removedAt,omitempty"`
	ProtocolVersion string             `json:"protocolVersion,omitempty"`
	GrantedScopes   *core.Bundle       `json:"grantedScopes,omitempty"`
	ReceivedScopes  *core.Bundle       `json:"receivedScopes,omitempty"`
	OfferedIntents  []string           `json:"offeredIntents,omitempty"`
	ResponsePolicy  map[string]onTopic `json:"responsePolicy,omitempty"`
	DefaultLevel    string             `json:"defaultLevel,omitempty"`
	Tags            []string           `json:"tags,omitempty"`
	OGP             *extra             `json:"ogp,omitempty"`
}

type onTopic struct {
	Level string `json:"level"`
}

// ExportPeers writes peers in the form of the TypeScript gateways' peers.json: an
// array, in the order given. A peer keeps the id that it announced itself, or has
// the 32-character one. Read gives the same peers back, but for their history,
// the times of an earlier standing, and what their cards said.
//
// Strangers are no peers and give an error. Safe for concurrent use; the peers
// are only read.
func ExportPeers(peers []*core.Peer) ([]byte, error) {
	list := make([]exported, 0, len(peers))
	for _, p := range peers {
		e, err := export(p)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	data, err := json.Marshal(list, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("legacy: export: %w", err)
	}
	return append(data, '\n'), nil
}

func export(p *core.Peer) (exported, error) {
	e := exported{
		ID: p.Label, Alias: p.Alias, GatewayURL: p.URL, PublicKey: p.Key.String(),
		DisplayName: p.Names.DisplayName, Email: p.Names.Email, HumanName: p.Names.HumanName,
		AgentName: p.Names.AgentName, Organization: p.Names.Organization,
		Status:      p.Trust,
		RequestedAt: stamp(p.RequestedAt), ApprovedAt: stamp(p.ApprovedAt),
		RejectedAt: stamp(p.RejectedAt), RemovedAt: stamp(p.RemovedAt),
		GrantedScopes: p.Granted, ReceivedScopes: p.Received, OfferedIntents: p.Offered,
		DefaultLevel: p.DefaultLevel, Tags: p.Tags,
	}
	if e.ID == "" {
		e.ID = p.Key.ID()
	}
	if p.Granted != nil || p.Received != nil {
		e.ProtocolVersion = core.BundleVersion
	}
	for topic, level := range p.Levels {
		if e.ResponsePolicy == nil {
			e.ResponsePolicy = map[string]onTopic{}
		}
		e.ResponsePolicy[topic] = onTopic{level}
	}
	more := extra{V2: p.V2}
	switch p.Trust {
	case core.Requested:
		e.Status, more.RequestedBy = core.Pending, core.Us
	case core.Pending:
		more.RequestedBy = core.Them
	case core.Approved:
	case core.Rejected, core.Removed:
		more.By = p.By
	default:
		return exported{}, fmt.Errorf("legacy: export: %s is not a peer: its trust is %q", p.Key.Fingerprint(), p.Trust)
	}
	if more != (extra{}) {
		e.OGP = &more
	}
	return e, nil
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return core.FormatTime(t)
}
