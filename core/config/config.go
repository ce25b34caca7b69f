// Package config reads the daemon's settings: defaults, then a file, then the
// environment, then flags, each layer over the one before. Load returns values
// that are already checked, or every mistake at once, each with its place.
//
// A setting is one field of Config. Its key in config.toml is written in the
// koanf tag; the environment's name is OGP_ and the key in capitals, and the
// flag's name the key with dashes: network.allow_private, OGP_NETWORK_ALLOW_PRIVATE,
// --network-allow-private.
package config

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/brake"
	"github.com/opengatewayprotocol/ogp/core/delivery"
	"github.com/opengatewayprotocol/ogp/core/ours"
	"github.com/opengatewayprotocol/ogp/core/record"
	"github.com/opengatewayprotocol/ogp/core/scope"
)

// Config is every setting. Default returns the defaults, Load what the operator
// made of them. The tags: koanf is the key, unit what a bare value means, oneof
// the words allowed, check the form (see validate.go), doc the operator's text.
type Config struct {
	DaemonPort  int    `koanf:"daemon_port" unit:"TCP port" check:"port" doc:"Port to listen on. 0 picks a free one."`
	Listen      string `koanf:"listen" unit:"IP address or host name" check:"host" doc:"Address to listen on. Empty: this machine alone while the gateway URL is on localhost and no rendezvous is used, all interfaces once it is not."`
	GatewayURL  string `koanf:"gateway_url" unit:"URL" check:"url" doc:"Where peers reach this gateway. Empty: http://localhost and the port, which is good for trying things out on one machine only."`
	DisplayName string `koanf:"display_name" check:"name" doc:"The name on our card. Empty: user@host of this machine."`
	Email       string `koanf:"email" check:"name" doc:"E-mail address on our card. Empty: none."`

	HumanName    string `koanf:"human_name" check:"name" doc:"The human's name on our card. Empty: none."`
	AgentName    string `koanf:"agent_name" check:"name" doc:"The agent's name on our card. Empty: none."`
	Organization string `koanf:"organization" check:"name" doc:"The organization on our card. Empty: none."`

	OpenClawURL        string `koanf:"openclaw_url" unit:"URL" check:"url" doc:"Where the OpenClaw gateway listens."`
	OpenClawToken      Secret `koanf:"openclaw_token" unit:"secret" doc:"OpenClaw's gateway token: the token itself, \"${VARIABLE}\" or \"file:/path\"."`
	OpenClawHooksToken Secret `koanf:"openclaw_hooks_token" unit:"secret" doc:"OpenClaw's hooks token, in the same forms. Empty: openclaw_token."`

	OpenClawAnswers []string `koanf:"openclaw_answers" unit:"list of intents" check:"intents" doc:"Messages that OpenClaw's agent answers by itself, over its A2A channel: intents, or all. It is only notified of the others, by its webhooks."`

	AgentID string   `koanf:"agent_id" check:"id" doc:"The OpenClaw agent that is notified of federation events."`
	Intents []string `koanf:"intents" unit:"list of intents" check:"intents" doc:"Intents of our own, beside the built-in ones: those that grants.default.intents has by default."`

	Store Secret `koanf:"store" unit:"secret" doc:"Where the state is kept. Empty: a file in the state directory. A PostgreSQL database: \"postgres://user:password@host/database\", \"${VARIABLE}\" or \"file:/path\". docs/scaling.md"`

	StoreRead Secret `koanf:"store_read" unit:"secret" doc:"A read replica of that database, in the same forms, from which lists are read. Empty: they are read from store."`

	Signer string `koanf:"signer" unit:"address" check:"signer?" doc:"Who signs for us: another process, \"unix:/run/ogp-signer/signer.sock\". Empty: the key in the state directory, or the one that is sealed in the database. docs/scaling.md"`

	Rendezvous Rendezvous     `koanf:"rendezvous" doc:"Finding peers by key and by invite code."`
	Network    Network        `koanf:"network" doc:"Which addresses we connect to, and which proxies we trust."`
	Freshness  ours.Freshness `koanf:"freshness" doc:"How old a message may be, and how long it is remembered."`
	Grants     Grants         `koanf:"grants" doc:"What a peer may do."`
	AgentComms scope.Levels   `koanf:"agent_comms" doc:"How much of an agent-comms message the agent is asked to share, by topic."`
	Compat     ours.Compat    `koanf:"compat" doc:"Older gateways."`
	Limits     Limits         `koanf:"limits" doc:"Bounds on what others can make us do."`
	Outbox     ours.Outbox    `koanf:"outbox" doc:"Messages that wait for a peer out of reach."`
	Inbox      ours.Inbox     `koanf:"inbox" doc:"Messages that arrived."`
	Replies    ours.Replies   `koanf:"replies" doc:"Answers that wait to be polled."`
	Delivery   Delivery       `koanf:"delivery" doc:"Notifying the agent."`
	Health     ours.Health    `koanf:"health" doc:"Checking whether peers can be reached."`
	Log        Log            `koanf:"log" doc:"The daemon's log, on standard error."`
	Metrics    Metrics        `koanf:"metrics" doc:"What a monitoring system reads. Not for the public internet."`
	A2A        A2A            `koanf:"a2a" doc:"Approved peers as A2A agents, for programs on this machine. What they do counts as the agent's."`
	Console    Console        `koanf:"console" doc:"The page that \"ogp console\" opens. Nothing listens until then."`
	TLS        TLS            `koanf:"tls" doc:"HTTPS of our own. Without it, a proxy or tunnel in front does that."`
	Policy     Policy         `koanf:"policy" doc:"Deciding about messages and requests: the rules below, and what is recorded."`
	Key        Key            `koanf:"key" doc:"Our private key. Its passphrase may also come from OGP_KEY_PASSPHRASE."`

	Agent AgentRole `koanf:"agent" doc:"What the agent may do by itself, through its own socket and the tools of \"ogp mcp\"."`
	// Agents are the personas behind this gateway. Empty: one, made of AgentName.
	Agents []Agent `koanf:"agents" doc:"The agents (personas) behind this gateway, one table each. None: one primary agent, named by agent_name."`
	// Rules are a policy without a plugin, in the order in which they are asked.
	Rules []Rule `koanf:"rules" doc:"Rules about messages and requests, one table each: the first whose expression holds decides. docs/rules.md"`
	// Plugins are the operator's words for each plugin, by its name.
	Plugins map[string]PluginConfig `koanf:"plugins" doc:"Plugins, one table each, by name."`
}

// Rendezvous is the [rendezvous] table.
type Rendezvous struct {
	Enabled   bool     `koanf:"enabled" doc:"Register with the rendezvous and keep the registration alive."`
	URL       string   `koanf:"url" unit:"URL" check:"url" doc:"The rendezvous server."`
	URLs      []string `koanf:"urls" unit:"list of URLs" check:"url" doc:"Further rendezvous servers, asked in this order after url."`
	PublicURL string   `koanf:"public_url" unit:"URL" check:"url" doc:"The URL to register, where it differs from gateway_url. OGP_PUBLIC_URL sets it too. Empty: gateway_url."`
	// Store is for who hosts one: the URL may hold a password.
	Store Secret `koanf:"store" unit:"secret" doc:"For \"ogp rendezvous\", which may run on this machine: the Valkey or Redis that it shares with others, \"valkey://user:password@host:6379/0\", \"${VARIABLE}\" or \"file:/path\". Empty: it keeps its records in memory. docs/rendezvous.md"`
}

// Network is the [network] table.
type Network struct {
	AllowPrivate   []netip.Prefix `koanf:"allow_private" unit:"list of CIDR ranges" doc:"Non-public address ranges where peers may be: \"127.0.0.0/8\" for gateways on this machine."`
	TrustedProxies []netip.Prefix `koanf:"trusted_proxies" unit:"list of CIDR ranges" doc:"Proxies in front of us whose X-Forwarded-For says who the client is."`
}

// Grants is the [grants] table.
type Grants struct {
	Default DefaultGrant `koanf:"default" doc:"What a peer is granted on approval, where neither the operator nor a policy plugin says."`
}

// DefaultGrant is the [grants.default] table.
type DefaultGrant struct {
	Intents []string       `koanf:"intents" unit:"list of intents" check:"intents" doc:"Intents that the peer may use."`
	Rate    core.RateLimit `koanf:"rate" unit:"requests/seconds" doc:"The most messages for each intent within a time, such as 100/1h."`
	Bytes   core.ByteLimit `koanf:"bytes" unit:"size/time" doc:"The most payload for each intent within a time, such as 256KiB/1h."`
	Topics  []string       `koanf:"topics" unit:"list of topic prefixes" check:"topics" doc:"Topics of agent-comms. Empty: all."`
}

// Limits is the [limits] table.
type Limits struct {
	BodyBytes         int `koanf:"body_bytes" unit:"bytes" check:"1024.." doc:"The longest request body."`
	CardPerMinute     int `koanf:"card_per_minute" unit:"requests per minute" check:"1.." doc:"How often one address may read our card."`
	StrangerPerMinute int `koanf:"stranger_per_minute" unit:"requests per minute" check:"1.." doc:"Messages from one address whose sender is no peer of ours."`
	ours.Limits
}

// Delivery is the [delivery] table.
type Delivery struct {
	Notifiers []string `koanf:"notifiers" unit:"list of notifiers" check:"id" doc:"Who is notified of events: \"log\", and plugins by name. Unset: the log, every plugin that notifies, and OpenClaw if its token is found."`
	delivery.Settings
}

// Metrics is the [metrics] table.
type Metrics struct {
	Listen string `koanf:"listen" unit:"host:port" check:"hostport?" doc:"Address for /metrics (Prometheus), /healthz and /readyz, such as \"127.0.0.1:9290\". Empty: none."`
}

// A2A is the [a2a] table.
type A2A struct {
	Listen       string         `koanf:"listen" unit:"host:port" check:"loopback?" doc:"Loopback address at which each approved peer is an A2A agent, /a2a/<alias>, such as \"127.0.0.1:18795\". \"ogp a2a token\" shows the token. Empty: none."`
	AllowPrivate []netip.Prefix `koanf:"allow_private" unit:"list of CIDR ranges" doc:"Non-public address ranges where A2A clients may be sent push notifications, beside those of network.allow_private: \"127.0.0.0/8\" for clients on this machine."`
}

// Console is the [console] table.
type Console struct {
	Listen string `koanf:"listen" unit:"host:port" check:"hostport" doc:"Where the console listens once it is opened. Port 0: any free port. Any address but loopback needs a certificate."`
	Cert   string `koanf:"cert" unit:"path" doc:"A certificate chain in PEM. The console answers to the names in it."`
	Key    string `koanf:"key" unit:"path" doc:"The certificate's private key in PEM."`
}

// TLS is the [tls] table.
type TLS struct {
	Domain string `koanf:"domain" unit:"host name" check:"host" doc:"Fetch and renew a certificate for this name by ACME. The gateway must be reached at it on port 443."`
	Email  string `koanf:"email" check:"name" doc:"Where the certificate authority can write to. Empty: nowhere."`
	CA     string `koanf:"ca" unit:"URL" check:"url" doc:"The ACME directory. Empty: Let's Encrypt."`
	Cert   string `koanf:"cert" unit:"path" doc:"A certificate chain in PEM, instead of fetching one. It is read again when it changes."`
	Key    string `koanf:"key" unit:"path" doc:"The certificate's private key in PEM."`
}

// Log is the [log] table.
type Log struct {
	Level  string `koanf:"level" oneof:"debug|info|warn|error" doc:"Log this level and above."`
	Format string `koanf:"format" oneof:"text|json" doc:"The format of each line."`
}

// Key is the [key] table.
type Key struct {
	PassphraseFile string `koanf:"passphrase_file" unit:"path" doc:"A file with the passphrase that seals our key. Empty: OGP_KEY_PASSPHRASE, or no passphrase."`
}

// AgentRole is the [agent] table: the agent's own socket and its limits.
type AgentRole struct {
	Enabled        bool   `koanf:"enabled" doc:"Open the agent's socket. Without it \"ogp mcp\" cannot work."`
	Socket         string `koanf:"socket" unit:"path" doc:"The agent's socket. Empty: agent.sock in the state directory."`
	SocketGroup    string `koanf:"socket_group" unit:"group" check:"name" doc:"A group whose members may use the agent's socket too, for an agent under another account. Empty: only the gateway's own account."`
	MessagesPerDay int    `koanf:"messages_per_day" unit:"messages" check:"0.." doc:"Messages and answers that the agent may send to one peer within 24 hours. 0: no limit."`
	BytesPerDay    int    `koanf:"bytes_per_day" unit:"bytes" check:"0.." doc:"The size of what the agent may send to one peer within 24 hours. 0: no limit."`
	brake.Settings
}

// Agent is one [[agents]] table: a persona behind this gateway.
// docs/protocol.md#personas
type Agent struct {
	ID          string   `koanf:"id" check:"persona" doc:"What a message's toAgent names it by: a-z, 0-9, _ and -."`
	DisplayName string   `koanf:"display_name" check:"name" doc:"Its name on our card."`
	DisplayIcon string   `koanf:"display_icon" check:"name" doc:"An emoji or URL beside the name."`
	Role        string   `koanf:"role" oneof:"primary|specialist" doc:"One agent is primary: it gets what names no agent."`
	Description string   `koanf:"description" check:"name" doc:"What it is for."`
	Skills      []string `koanf:"skills" unit:"list" check:"name" doc:"What it can do."`
	HookAgentID string   `koanf:"hook_agent_id" check:"id?" doc:"Its id in OpenClaw. Empty: main for the primary agent, else id."`
}

// Policy is the [policy] table.
type Policy struct {
	record.Settings
	TimeZone string      `koanf:"time_zone" unit:"time zone" check:"zone" doc:"The time zone of hours in rules, such as \"Europe/Paris\". Empty: this machine's."`
	Rules    PolicyRules `koanf:"rules" doc:"All rules together, as a policy among the plugins."`
}

// PolicyRules is the [policy.rules] table.
type PolicyRules struct {
	Order    int    `koanf:"order" doc:"The place of the rules among the policies, lowest first."`
	Approves bool   `koanf:"approves" doc:"Whether a rule may approve strangers."`
	AtMost   AtMost `koanf:"at_most" doc:"The most that rules grant to those they approve. Without it: grants.default."`
}

// Expression is a text that may have several lines.
type Expression string

// Rule is one [[rules]] table. docs/rules.md
type Rule struct {
	Name   string     `koanf:"name" check:"name" doc:"Its name, which is shown where it decides."`
	When   Expression `koanf:"when" unit:"expression" doc:"The condition: the rule decides when it is true."`
	Then   string     `koanf:"then" oneof:"allow|deny|hold|approve" doc:"What it decides."`
	Reason string     `koanf:"reason" check:"name" doc:"Why, for people; the peer is told with a denial. Empty: its name."`
}

// PluginConfig is one [plugins.<name>] table: what the operator grants a plugin.
// docs/plugins.md
type PluginConfig struct {
	Path      string            `koanf:"path" unit:"path" doc:"The module. Empty: one that ships with ogp."`
	Shipped   string            `koanf:"shipped" check:"name" doc:"The plugin that ships with ogp and runs under this name, such as a second a2a. Empty: the one of this name."`
	SHA256    string            `koanf:"sha256" unit:"hex" check:"sha256" doc:"The module's SHA-256. A module that differs stops the start. Empty: not pinned."`
	Order     int               `koanf:"order" doc:"Policies run in this order, lowest first."`
	Enabled   *bool             `koanf:"enabled" doc:"Whether it is loaded. Unset: true."`
	Hooks     []string          `koanf:"hooks" unit:"list" oneof:"hooks" doc:"The hooks that it may have. Empty: all that its manifest names."`
	Grants    PluginGrants      `koanf:"grants" doc:"What it may reach."`
	Config    map[string]any    `koanf:"config" unit:"table" doc:"Its own settings, over its manifest's."`
	Secrets   map[string]Secret `koanf:"secrets" unit:"table of name = secret" doc:"Secrets that it may name in a request and never sees."`
	Timeout   time.Duration     `koanf:"timeout" unit:"duration" check:"0s.." doc:"How long a call may take. 0s: as in its manifest."`
	MemoryMiB int               `koanf:"memory_mib" unit:"MiB" check:"0.." doc:"Memory of one instance. 0: as in its manifest."`
	Fuel      int64             `koanf:"fuel" unit:"instructions" check:"0.." doc:"Instructions of one call. 0: as in its manifest."`
	Instances int               `koanf:"instances" check:"0.." doc:"Instances at the same time. 0: as in its manifest."`
}

// PluginGrants is one [plugins.<name>.grants] table. Nothing in it: nothing granted.
type PluginGrants struct {
	HTTP       []string `koanf:"http" unit:"list of URL prefixes" check:"prefixurl" doc:"URLs that it may send requests to: scheme, host, port, start of the path."`
	Private    bool     `koanf:"private" doc:"Whether those may be at loopback or private addresses."`
	KV         []string `koanf:"kv" unit:"list" oneof:"get|set|delete|list" doc:"What it may do with its key-value store."`
	KVMaxBytes int64    `koanf:"kv_max_bytes" unit:"bytes" check:"0.." doc:"The size of its key-value store. 0: as in its manifest."`
	Approves   bool     `koanf:"approves" doc:"Whether it may approve strangers."`
	Replies    bool     `koanf:"replies" doc:"Whether it may answer peers' messages."`

	AtMost AtMost `koanf:"at_most" doc:"The most that it may grant to those it approves. Without it: grants.default."`
}

// AtMost is one [plugins.<name>.grants.at_most] table.
type AtMost struct {
	Intents []string `koanf:"intents" unit:"list of intents" check:"intents" doc:"Intents that it may grant. Empty: those of grants.default, and nothing else here applies."`
	Rate    string   `koanf:"rate" unit:"requests/seconds" check:"rate" doc:"Messages for each intent, at most. Empty: 100/1h."`
	Bytes   string   `koanf:"bytes" unit:"size/time" check:"bytes" doc:"Payload for each intent, at most. Empty: 256KiB/1h."`
	Topics  []string `koanf:"topics" unit:"list of topic prefixes" check:"topics" doc:"Topics of agent-comms, at most. Empty: all."`
}

// Grants is the bound as grants; none is no bound of its own.
func (a AtMost) Grants() []core.Grant {
	rate, err := core.ParseRate(a.Rate) // checked when it was read; empty: the default
	size, sizeErr := core.ParseByteLimit(a.Bytes)
	out := make([]core.Grant, len(a.Intents))
	for i, intent := range a.Intents {
		out[i] = core.Grant{Intent: intent, Enabled: true}
		if err == nil {
			out[i].RateLimit = &rate
		}
		if sizeErr == nil {
			out[i].ByteLimit = &size
		}
		if intent == core.IntentAgentComms {
			out[i].Topics = a.Topics
		}
	}
	return out
}

// IsEnabled reports whether the plugin is to be loaded: yes, unless told otherwise.
func (p PluginConfig) IsEnabled() bool { return p.Enabled == nil || *p.Enabled }

// Default returns the defaults. Each call returns a value of its own.
func Default() Config {
	gateway := ours.Defaults()
	return Config{
		DaemonPort:  core.DefaultPort,
		OpenClawURL: "http://localhost:18789",
		AgentID:     gateway.AgentID,
		Intents:     []string{}, OpenClawAnswers: []string{},
		Rendezvous: Rendezvous{URLs: []string{}},
		A2A:        A2A{AllowPrivate: []netip.Prefix{}},
		Network:    Network{AllowPrivate: []netip.Prefix{}, TrustedProxies: []netip.Prefix{}},
		Freshness:  gateway.Freshness,
		Grants: Grants{Default: DefaultGrant{
			Intents: append([]string(nil), core.BuiltinIntents...),
			Rate:    core.DefaultRate,
			Bytes:   core.DefaultBytes,
			Topics:  []string{},
		}},
		AgentComms: gateway.Levels,
		Compat:     gateway.Compat,
		Limits: Limits{
			BodyBytes:         core.DefaultBodyBytes,
			CardPerMinute:     core.DefaultCardsPerMinute,
			StrangerPerMinute: core.DefaultStrangersPerMin,
			Limits:            gateway.Limits,
		},
		Outbox:   gateway.Outbox,
		Inbox:    gateway.Inbox,
		Replies:  gateway.Replies,
		Delivery: Delivery{Notifiers: []string{"log"}, Settings: delivery.Defaults()},
		Health:   gateway.Health,
		Log:      Log{Level: "info", Format: "text"},
		Console:  Console{Listen: "127.0.0.1:0"},
		Agent:    AgentRole{Enabled: true, MessagesPerDay: 200, BytesPerDay: 4 << 20, Settings: brake.Defaults()},
		Policy:   Policy{Settings: record.Settings{Keep: 30 * 24 * time.Hour}, Rules: PolicyRules{AtMost: AtMost{Intents: []string{}, Topics: []string{}}}},
		Agents:   []Agent{},
		Rules:    []Rule{},
		Plugins:  map[string]PluginConfig{},
	}
}

// ListenAddress is the host:port to listen on.
func (c *Config) ListenAddress() string {
	host := c.Listen
	if host == "" && c.IsLocal() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(c.DaemonPort))
}

// IsLocal reports whether nobody but this machine is told where we are: the gateway
// URL is on it, and no rendezvous tells others our address.
func (c *Config) IsLocal() bool {
	u, err := url.Parse(c.OwnURL(c.DaemonPort))
	return err == nil && !c.Rendezvous.Enabled && core.IsThisMachine(u.Hostname())
}

// OwnURL is where peers reach us: GatewayURL, or the name that a certificate is
// fetched for, or localhost and the port that is listened on (which DaemonPort
// does not tell where it is 0).
func (c *Config) OwnURL(port int) string {
	if c.GatewayURL != "" {
		return c.GatewayURL
	}
	switch {
	case c.TLS.Domain != "":
		return "https://" + c.TLS.Domain // its port 443 leads here, or there would be no certificate
	case c.TLS.Cert != "":
		return "https://localhost:" + strconv.Itoa(port)
	}
	return "http://localhost:" + strconv.Itoa(port)
}

// Servers are the rendezvous servers in the order in which they are asked, each once.
func (r Rendezvous) Servers() []string {
	var servers []string
	seen := map[string]bool{"": true}
	for _, u := range append([]string{r.URL}, r.URLs...) {
		if !seen[u] {
			seen[u] = true
			servers = append(servers, u)
		}
	}
	return servers
}

// Names are the names on our card.
func (c *Config) Names() core.Names {
	return core.Names{
		DisplayName:  c.DisplayName,
		Email:        c.Email,
		HumanName:    c.HumanName,
		AgentName:    c.AgentName,
		Organization: c.Organization,
	}
}

// Personas are the agents as the card shows them. Empty where none is configured.
func (c *Config) Personas() []core.Persona {
	personas := make([]core.Persona, 0, len(c.Agents))
	for _, a := range c.Agents {
		personas = append(personas, core.Persona{
			ID: a.ID, DisplayName: a.DisplayName, Role: a.Role, DisplayIcon: a.DisplayIcon,
			Description: a.Description, Skills: a.Skills, HookAgentID: a.HookAgentID,
		})
	}
	return personas
}

// Scopes are the default grants, one for each intent.
func (g DefaultGrant) Scopes() []core.Grant {
	grants := make([]core.Grant, 0, len(g.Intents))
	for _, intent := range g.Intents {
		rate, size := g.Rate, g.Bytes
		grant := core.Grant{Intent: intent, Enabled: true, RateLimit: &rate}
		if size != core.DefaultBytes && size.Bytes > 0 {
			grant.ByteLimit = &size
		}
		if intent == core.IntentAgentComms && len(g.Topics) > 0 {
			grant.Topics = append([]string(nil), g.Topics...)
		}
		grants = append(grants, grant)
	}
	return grants
}
