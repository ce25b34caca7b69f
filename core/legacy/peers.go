package legacy

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/text/unicode/norm"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Bounds on what a record says, those of our own gateway.
const (
	maxNameRunes  = 80
	maxAliasRunes = 64
	maxLabelBytes = 255
	maxURLBytes   = 512
	maxWordBytes  = 128 // an intent, a topic, a persona
	maxList       = 256 // of such words, or of grants
)

// levels are those of agent-comms.
var levels = []string{"full", "summary", "escalate", "deny", "off"}

// passing are members that say how things stood when the file was written, or
// what the other members say too: nothing is lost without them.
var passing = []string{
	"protocolVersion", "lastSeenAt", "healthy", "healthCheckFailures", "healthState", "healthStateChangedAt",
	"lastOutboundCheckAt", "lastOutboundCheckFailedAt", "lastInboundContactAt", "inboundHealthReport",
	"federationState", "federationStateChangedAt", "federationStateReason", "resyncSnapshot",
}

// extra is the one member of ours in an exported record. TypeScript gateways keep
// and ignore it.
type extra struct {
	RequestedBy string `json:"requestedBy,omitempty"` // Us or Them, of a pending record
	By          string `json:"by,omitempty"`          // Us or Them, of a rejected or removed one
	V2          bool   `json:"v2,omitempty"`
}

// readPeers reads peers.json. Peers are told apart by key; ids are labels.
func (i *Import) readPeers(data []byte) error {
	var list []jsontext.Value
	// Lenient as a whole, strict in each record: one bent record costs that one.
	if err := json.Unmarshal(data, &list, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return fmt.Errorf("legacy: %s: %w", peersFile, &core.Error{Kind: core.Malformed, Public: "want an array of peers", Err: err})
	}
	at := map[core.PublicKey]int{}
	unused := map[string]int{}
	for n, raw := range list {
		r := &record{imp: i, where: fmt.Sprintf("%s[%d]", peersFile, n)}
		if err := json.Unmarshal(raw, &r.members); err != nil || r.members == nil {
			r.warnf("not a peer, left out")
			continue
		}
		p := r.peer()
		if p == nil {
			continue
		}
		for name := range r.members {
			unused[name]++
		}
		first, twice := at[p.Key]
		switch {
		case p.Key == i.Key.Public():
			r.warnf("has our own key, left out")
		case !twice:
			at[p.Key] = len(i.Peers)
			i.Peers = append(i.Peers, p)
		default:
			i.Peers[first] = r.merge(i.Peers[first], p)
		}
	}
	i.settleAliases()
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		i.warnf("%s: member %q of %s is not used by this gateway", peersFile, shown(name), text.Count(unused[name], "record"))
	}
	return nil
}

// merge settles two records of one key: the one whose standing changed last is
// right, and takes the names that only the other one has.
func (r *record) merge(a, b *core.Peer) *core.Peer {
	winner, loser := a, b
	if b.Since.After(a.Since) {
		winner, loser = b, a
	}
	r.warnf("a second record of %s: kept the later one (%s), not the other (%s)", a.Key.Fingerprint(), winner.Trust, loser.Trust)
	winner.Alias = cmp.Or(winner.Alias, loser.Alias)
	winner.Label = cmp.Or(winner.Label, loser.Label)
	winner.URL = cmp.Or(winner.URL, loser.URL)
	winner.V2 = winner.V2 || loser.V2
	return winner
}

// settleAliases leaves each alias to the first peer that has it, and none that reads like
// what names a gateway by itself.
func (i *Import) settleAliases() {
	taken := map[string]bool{}
	for _, p := range i.Peers {
		if p.Alias == "" {
			continue
		}
		twin := strings.ToLower(norm.NFC.String(p.Alias))
		if taken[twin] {
			i.warnf("%s: alias %q stands for several peers: %s goes without", peersFile, p.Alias, p.Key.Fingerprint())
			p.Alias = ""
			continue
		}
		if why := i.notAlias(p); why != "" {
			i.warnf("%s: %s goes without its alias %q: %s", peersFile, p.Key.Fingerprint(), p.Alias, why)
			p.Alias = ""
			continue
		}
		taken[twin] = true
	}
}

// notAlias says why a peer's alias is none here, or is empty.
func (i *Import) notAlias(p *core.Peer) string {
	if own := i.Key.Public(); own.Named(p.Alias) || own.Begins(p.Alias, core.LeastStart) {
		return "our own fingerprint or key begins so"
	}
	for _, other := range i.Peers {
		if other.Key != p.Key && (other.Key.Named(p.Alias) || other.Key.Begins(p.Alias, core.LeastStart)) {
			return "it could be taken for " + other.Key.Fingerprint()
		}
	}
	return core.NotAlias(p.Alias)
}

// record is one peer of peers.json. What is read is taken out of members.
type record struct {
	imp     *Import
	where   string
	members map[string]jsontext.Value
}

func (r *record) warnf(format string, args ...any) {
	r.imp.warnf("%s: %s", r.where, fmt.Sprintf(format, args...))
}

// take reads a member. Absent and null are the zero value; so is, with a warning,
// a value of another type.
func take[T any](r *record, name string) (v T, ok bool) {
	raw, there := r.members[name]
	delete(r.members, name)
	if !there || raw.Kind() == 'n' {
		return v, false
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		r.warnf("%s cannot be read", name)
		var zero T
		return zero, false
	}
	return v, true
}

func (r *record) text(name string) string {
	s, _ := take[string](r, name)
	return s
}

func (r *record) time(name string) time.Time {
	s := r.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := core.ParseTime(s)
	if err != nil {
		r.warnf("%s is not a time", name)
		return time.Time{}
	}
	return t.UTC()
}

// peer reads the record; nil is one that cannot be used.
func (r *record) peer() *core.Peer {
	id := r.text("id")
	p := &core.Peer{Alias: text.Line(r.text("alias"), maxAliasRunes)}
	petname := text.Line(r.text("petname"), maxAliasRunes)
	p.Alias = cmp.Or(p.Alias, petname)
	p.Names = core.Names{
		DisplayName:  text.Line(r.text("displayName"), maxNameRunes),
		Email:        text.Line(r.text("email"), maxNameRunes),
		HumanName:    text.Line(r.text("humanName"), maxNameRunes),
		AgentName:    text.Line(r.text("agentName"), maxNameRunes),
		Organization: text.Line(r.text("organization"), maxNameRunes),
	}
	if name := cmp.Or(p.Alias, p.Names.DisplayName); name != "" {
		r.where += fmt.Sprintf(" %q", name)
	}
	key, err := keys.Parse(r.text("publicKey"))
	if err != nil {
		r.warnf("left out: %v", err)
		return nil
	}
	p.Key = key
	p.Label = r.label(id, key)
	p.URL = r.url()
	p.Offered = r.words("offeredIntents")
	own, _ := take[extra](r, "ogp")
	p.V2 = own.V2
	if !r.standing(p, own) {
		return nil
	}
	r.power(p)
	r.tags(p)
	for _, name := range passing {
		delete(r.members, name)
	}
	return p
}

// tags takes the words over by which the operator sorts peers.
func (r *record) tags(p *core.Peer) {
	list, _ := take[[]string](r, "tags")
	for _, t := range list {
		more, err := core.Tags(p.Tags, []string{t}, nil)
		if err != nil {
			r.warnf("a tag left out: %v", err)
			continue
		}
		p.Tags = more
	}
}

// label keeps an id that is none of the key's own: host:port of 0.2.20 and
// before, and of some 0.2.30. A label made from another key is none.
func (r *record) label(id string, k core.PublicKey) string {
	if id == "" || id == k.String() || id == k.ID() || id == k.ShortID() {
		return ""
	}
	if len(id) > maxLabelBytes || text.Line(id, maxLabelBytes) != id || strings.HasPrefix(id, k.ShortID()) {
		r.warnf("id cannot be used as a label")
		return ""
	}
	return id
}

func (r *record) url() string {
	text := r.text("gatewayUrl")
	if text == "" {
		r.warnf("no gateway URL: envelopes to it cannot be sent")
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || len(text) > maxURLBytes || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		r.warnf("gateway URL cannot be used: envelopes to it cannot be sent")
		return ""
	}
	return text
}

// words reads a list of intents, topics or personas.
func (r *record) words(name string) []string {
	list, _ := take[[]string](r, name)
	kept := slices.DeleteFunc(list, func(w string) bool { return !isWord(w) })
	if len(kept) > maxList {
		kept = kept[:maxList]
	}
	if len(kept) < len(list) {
		r.warnf("%s: not all of it can be used", name)
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

func isWord(w string) bool {
	return w != "" && len(w) <= maxWordBytes && text.Line(w, maxWordBytes) == w
}

// standing reads the status and the times that go with it. Times of another
// status are left-overs in files seen in practice, and are dropped.
func (r *record) standing(p *core.Peer, own extra) bool {
	status := r.text("status")
	requested, approved := r.time("requestedAt"), r.time("approvedAt")
	rejected, removed := r.time("rejectedAt"), r.time("removedAt")
	p.RequestedAt = requested
	at := requested
	trust := core.Trust(status)
	switch trust {
	case core.Pending:
		trust = r.whoAsked(p, own)
	case core.Approved:
		p.ApprovedAt = approved
		at = cmp.Or(approved, requested)
	case core.Rejected:
		// Only their operator's own word made a record rejected.
		p.ApprovedAt, p.RejectedAt, p.By = approved, rejected, us(own.By, core.Us)
		at = cmp.Or(rejected, approved, requested)
	case core.Removed:
		p.ApprovedAt, p.RemovedAt, p.By = approved, removed, us(own.By, "")
		at = cmp.Or(removed, approved, requested)
	default:
		r.warnf("left out: status %q is unknown", shown(status))
		return false
	}
	p.Remember(core.Transition{At: at, Event: "import", To: trust})
	return true
}

func us(by, otherwise string) string {
	if by == core.Us || by == core.Them {
		return by
	}
	return otherwise
}

// whoAsked tells a request of ours from one of theirs, which the TypeScript
// gateways do not note down. Signs of theirs: the state "init" and offered
// intents. Sign of ours: an alias, which those gateways store with their own
// request. With no sign it counts as theirs, because a peer that we have asked
// can approve itself, and a stranger must not.
//
// docs/threat-model.md#t1
func (r *record) whoAsked(p *core.Peer, own extra) core.Trust {
	state, _ := take[string](r, "federationState")
	switch {
	case own.RequestedBy == core.Us:
		return core.Requested
	case own.RequestedBy == core.Them, state == "init", len(p.Offered) > 0:
		return core.Pending
	case p.Alias != "":
		return core.Requested
	}
	p.Warning = "imported: the old file does not say who asked; if you did, ask again"
	r.warnf("pending, and the file does not say who asked: read as their request; if it was yours, ask again")
	return core.Pending
}

// power reads the grants and levels of an approved peer. Every other starts from
// nothing, as in our own gateway; left-over grants are dropped.
func (r *record) power(p *core.Peer) {
	granted, received := r.bundle("grantedScopes"), r.bundle("receivedScopes")
	topics, fallback := r.levels(), r.level()
	if p.Trust != core.Approved {
		return
	}
	p.Granted, p.Received = granted, received
	p.Levels, p.DefaultLevel = topics, fallback
}

// bundle reads grants. None is nil, which means the protocol's v0.1 default on
// both sides; a bundle that cannot be read is an empty one, which allows nothing.
func (r *record) bundle(name string) *core.Bundle {
	raw, there := r.members[name]
	if !there || raw.Kind() == 'n' {
		delete(r.members, name)
		return nil
	}
	type wire struct {
		Version   string           `json:"version"`
		GrantedAt string           `json:"grantedAt"`
		Scopes    []jsontext.Value `json:"scopes"`
	}
	w, ok := take[wire](r, name)
	b := &core.Bundle{Version: core.BundleVersion, GrantedAt: w.GrantedAt, Scopes: []core.Grant{}}
	if !ok {
		r.warnf("%s: allows nothing until granted again", name)
		return b
	}
	if _, err := core.ParseTime(b.GrantedAt); err != nil {
		b.GrantedAt = ""
	}
	for n, raw := range w.Scopes {
		var g core.Grant
		if err := json.Unmarshal(raw, &g); err != nil || !soundGrant(g) || len(b.Scopes) == maxList {
			r.warnf("%s: grant %d cannot be read and is left out", name, n)
			continue
		}
		b.Scopes = append(b.Scopes, g)
	}
	return b
}

func soundGrant(g core.Grant) bool {
	if !isWord(g.Intent) || len(g.Topics) > maxList || len(g.Personas) > maxList {
		return false
	}
	if g.RateLimit != nil && (g.RateLimit.Requests < 0 || g.RateLimit.WindowSeconds <= 0) {
		return false
	}
	if g.ExpiresAt != "" {
		if _, err := core.ParseTime(g.ExpiresAt); err != nil {
			return false
		}
	}
	return !slices.ContainsFunc(append(slices.Clone(g.Topics), g.Personas...), func(w string) bool { return !isWord(w) })
}

// levels reads responsePolicy: {topic: {level, notes?}}, or a level alone.
func (r *record) levels() map[string]string {
	topics, _ := take[map[string]jsontext.Value](r, "responsePolicy")
	var found map[string]string
	for _, topic := range slices.Sorted(maps.Keys(topics)) {
		var entry struct {
			Level string `json:"level"`
			Notes string `json:"notes"`
		}
		raw := topics[topic]
		if json.Unmarshal(raw, &entry.Level) != nil && json.Unmarshal(raw, &entry) != nil || !slices.Contains(levels, entry.Level) || !isWord(topic) {
			// The word that was not understood may have been a no.
			r.warnf("responsePolicy of topic %q cannot be read: off", shown(topic))
			entry.Level = "off"
			if !isWord(topic) {
				continue
			}
		}
		if entry.Notes != "" {
			r.warnf("notes on topic %q are not used by this gateway", shown(topic))
		}
		if found == nil {
			found = map[string]string{}
		}
		found[topic] = entry.Level
	}
	return found
}

func (r *record) level() string {
	level := r.text("defaultLevel")
	if level != "" && !slices.Contains(levels, level) {
		r.warnf("defaultLevel %q is unknown: off", shown(level))
		return "off"
	}
	return level
}

// shown is what a warning quotes.
func shown(s string) string { return text.Line(s, 40) }
