package rendezvous

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// ServerOptions are a Server's settings. The zero value is ready to use.
type ServerOptions struct {
	// RequireSigned turns away registrations and invites that nobody has signed,
	// which are those of gateways before 0.7.
	RequireSigned bool
	// TrustedProxies may say in X-Forwarded-For who their client is.
	TrustedProxies []netip.Prefix
	// MaxPeers bounds the records. Zero means 1,000,000 (about 300 MB).
	MaxPeers int
	// MaxPerAddress bounds the live records from one address, in IPv6 one /64.
	// Zero means 1,000.
	MaxPerAddress int
	// MaxInvites bounds the invite codes. Zero means 100,000.
	MaxInvites int
	// MaxInvitesPerKey and MaxInvitesPerAddress bound the codes of one key and
	// from one address. Zero means 20 and 200.
	MaxInvitesPerKey, MaxInvitesPerAddress int
	// PostsPerMinute bounds registrations, deregistrations and invites from one
	// address. Zero means 6,000, negative none. Loopback is exempt.
	PostsPerMinute int
	// ReadsPerMinute bounds lookups of keys and codes from one address. Zero means
	// 6,000, negative none. Loopback is exempt.
	ReadsPerMinute int
	// MissesPerMinute bounds wrong invite codes from all addresses together. Zero
	// means 600. Each address has 5 besides; loopback counts toward all only.
	MissesPerMinute int
	// MaxAge is the longest life that a record is granted which asks for one, up to
	// 24 h. Zero: none but TTL is.
	MaxAge time.Duration
	// TTL is how long a record lives without renewal. Zero means 90 s.
	TTL time.Duration
	// InviteTTL is how long a code lives whose owner says nothing. Zero means core.DefaultInviteLife.
	InviteTTL time.Duration
	// Reannounce is after how long clients are told to renew. Zero means 30 s;
	// at most a third of TTL.
	Reannounce time.Duration
	// Window is how far a signed time may lie from ours. Zero means 5 minutes.
	Window time.Duration
	// PreserveFrom is the number of live records from which missing renewals are
	// taken for our own outage. Zero means 100.
	PreserveFrom int
	// Store keeps the records, with the same Limits. Nil: this process does.
	Store Store
	// Snapshot is the file that keeps the records over a restart. Empty, or with a Store: none.
	Snapshot string
	// SnapshotEvery is how often it is written besides at shutdown. Zero means 5 minutes.
	SnapshotEvery time.Duration
	// Logger gets what an operator should see. Nil: none.
	Logger *slog.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o *ServerOptions) fill() {
	orDefault(&o.MaxPeers, 1_000_000)
	orDefault(&o.MaxPerAddress, 1_000)
	orDefault(&o.MaxInvites, 100_000)
	orDefault(&o.MaxInvitesPerKey, 20)
	orDefault(&o.MaxInvitesPerAddress, 200)
	orDefault(&o.PostsPerMinute, 6_000)
	orDefault(&o.ReadsPerMinute, 6_000)
	orDefault(&o.MissesPerMinute, 600)
	orDefault(&o.TTL, 90*time.Second)
	orDefault(&o.InviteTTL, core.DefaultInviteLife)
	orDefault(&o.Reannounce, 30*time.Second)
	orDefault(&o.Window, core.DefaultWindow)
	orDefault(&o.PreserveFrom, 100)
	orDefault(&o.SnapshotEvery, 5*time.Minute)
	o.Reannounce = min(o.Reannounce, o.TTL/3)
	o.MaxAge = min(o.MaxAge, maxMaxAge)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}
