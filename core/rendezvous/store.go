package rendezvous

import (
	"context"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// Store keeps what a rendezvous knows: records, codes, and what each address has
// used of its limits. Servers that share a Store are one rendezvous. Safe for
// concurrent use.
//
// Every method takes the server's time. A Store with a clock of its own, which all
// servers share, goes by that one.
//
// Errors are of the kinds that the methods name, with the texts of
// docs/rendezvous.md#api, and of kind Unavailable with RetryAfter where the Store
// cannot be reached: nothing has been promised then.
type Store interface {
	// Put registers or renews; renewal reports that the key was live. The same signed
	// text again changes nothing, not even when it was last seen, as everybody can look
	// it up and send it.
	//
	// Errors: kind Conflict for a registration older than the newest that is known and
	// for a weaker one against a live one that is better signed, RateLimited when the
	// address has too many records, Unavailable when the rendezvous is full.
	Put(ctx context.Context, r Registration, now time.Time) (renewal bool, err error)
	// Get looks a key up. Errors: ErrNoPeer and ErrPeerExpired, of kind NotFound.
	Get(ctx context.Context, k core.PublicKey, now time.Time) (Kept, error)
	// Drop deregisters. With signedAt set the caller has shown a text of the key's,
	// signed then; otherwise the record must not be signed in the v2 form and come from
	// the address. Errors: kind NotFound, Conflict or Forbidden.
	Drop(ctx context.Context, k core.PublicKey, from netip.Addr, signedAt, now time.Time) error
	// Newer reports whether a signed time is after every registration that is known of
	// the key.
	Newer(ctx context.Context, k core.PublicKey, at, now time.Time) (bool, error)

	// AddCode gives an invite a code of 6 characters from the system's randomness. A
	// signed text counts once: signedAt, where it is set, must be after the key's last.
	// Errors: kind Conflict, RateLimited or Unavailable.
	AddCode(ctx context.Context, c Code, signedAt, now time.Time) (text string, err error)
	// Resolve takes one use of a code, or none if count is false, and bounds the wrong
	// ones. Errors: kind NotFound or RateLimited.
	Resolve(ctx context.Context, text string, from netip.Addr, count bool, now time.Time) (Code, error)
	// Codes are a key's open ones, oldest first.
	Codes(ctx context.Context, k core.PublicKey, now time.Time) ([]Code, error)
	// Revoke ends a code of the key's own. Errors: kind NotFound, also for another
	// key's code.
	Revoke(ctx context.Context, k core.PublicKey, text string, now time.Time) error

	// Admit counts a request against a limit of its address. Errors: kind RateLimited.
	Admit(ctx context.Context, b Budget, from netip.Addr, now time.Time) error

	// Counts says what there is now.
	Counts(ctx context.Context, now time.Time) (Counts, error)
	// Hold lets nothing expire until then; an earlier time than the one that holds
	// changes nothing.
	Hold(ctx context.Context, until time.Time) error
	// Expire forgets what is over.
	Expire(ctx context.Context, now time.Time) error
}

// Limits bound a Store. NewServer's defaults stand for what is zero.
// docs/rendezvous.md#sizing
type Limits struct {
	MaxPeers, MaxPerAddress                            int
	MaxInvites, MaxInvitesPerKey, MaxInvitesPerAddress int
	PostsPerMinute, ReadsPerMinute, MissesPerMinute    int
	TTL, Window                                        time.Duration
}

// Limits are the bounds that the options set.
func (o ServerOptions) Limits() Limits {
	o.fill()
	return Limits{o.MaxPeers, o.MaxPerAddress, o.MaxInvites, o.MaxInvitesPerKey, o.MaxInvitesPerAddress,
		o.PostsPerMinute, o.ReadsPerMinute, o.MissesPerMinute, o.TTL, o.Window}
}

// Budget is a limit of one address.
type Budget string

// The limits by address. Wrong codes are bounded by Resolve.
const (
	BudgetPosts Budget = "posts" // registrations, deregistrations and invites
	BudgetReads Budget = "reads" // lookups of keys and codes
)

// Rate is a limit: so many a minute, and so many at once.
type Rate struct{ PerMinute, Burst int }

// Rate is a budget's limit; false: there is none.
func (l Limits) Rate(b Budget) (Rate, bool) {
	perMinute := l.PostsPerMinute
	if b == BudgetReads {
		perMinute = l.ReadsPerMinute
	}
	return Rate{perMinute, max(perMinute/6, 1)}, perMinute >= 0
}

// MissRate bounds the wrong codes of one address. docs/threat-model.md#v4
func (Limits) MissRate() Rate { return Rate{missesPerAddress, missesPerAddress} }

// Counts say what a Store has. Renewed and Dropped are since whenever the Store
// began, and fall only when it has lost what it knew.
type Counts struct {
	Live             int64 // records
	Brief            int64 // of them, those of the ordinary life
	Entries          int64 // live records and the memory of dead ones
	Codes            int64
	Expired          int64     // records that have expired
	Renewed, Dropped int64     // renewals and deregistrations of brief records
	HoldUntil        time.Time // nothing expires before it
}

// Registration is what a gateway says of itself and where it said it from.
type Registration struct {
	Key       core.PublicKey
	Addr      netip.Addr // of the connection
	Port      int
	PublicURL string
	Signed    bool
	Record    envelope.Record // of the v2 form; zero for any other
	SentAt    time.Time
	MaxAge    time.Duration // the life that was asked for and granted, in whole seconds; 0: the ordinary one
}

// Kept is a registration as a Store keeps it.
type Kept struct {
	entry
	ttl time.Duration // how long it has left; 0 when it is only kept by self-preservation
}

// Packed is a registration in its shortest form, for a Store outside the process.
// Form is how it is signed, the weaker before the stronger: FormUnsigned to FormText.
type Packed struct {
	Form  int
	Extra string   // the public URL, and what of the text cannot be written again
	Sig   [64]byte // of the v2 forms
}

// The forms of a Packed registration. docs/threat-model.md#v1
const (
	FormUnsigned = int(unsigned)
	FormLegacy   = int(formLegacy)
	FormOurs     = int(formOurs)
	FormText     = int(formText)
)

// Pack finds the shortest form.
func (r Registration) Pack() Packed {
	f, extra := compress(r)
	sig, _ := keys.ParseSignature(r.Record.Signature) // it was verified
	return Packed{int(f), extra, sig}
}

// Unpack is the registration of r.Key, r.Addr, r.Port, r.SentAt and r.MaxAge, as it
// was packed, last seen then and with so much life left. The rest of r is not read.
func Unpack(r Registration, p Packed, seen time.Time, left time.Duration) Kept {
	return Kept{entry{
		key: r.Key, addr: r.Addr.As16(), sig: p.Sig, extra: p.Extra, seen: seen.UnixMilli(), newest: r.SentAt.UnixMilli(),
		life: uint32(r.MaxAge / time.Second), port: uint16(r.Port), form: form(p.Form),
	}, max(0, left)}
}

// Check verifies what a Store outside the process gave: where a record is handed on,
// that its key has signed all that is said of it, and else that it could have been
// taken. It returns an error of kind BadSignature or Malformed.
//
// docs/threat-model.md#v1
func (k Kept) Check() error {
	if err := checkPublicURL(k.publicURL()); err != nil {
		return err
	}
	if !k.v2() {
		return nil
	}
	record := envelope.Record{PayloadStr: string(k.appendText(nil)), Signature: hex.EncodeToString(k.sig[:])}
	opened, err := new(envelope.Opener).OpenRecord(record, envelope.PurposeRegister)
	if err != nil {
		return err
	}
	if h := opened.Value; opened.Key != k.key || h.Port != int(k.port) || h.PublicURL != k.publicURL() || opened.SentAt.UnixMilli() != k.newest {
		return core.Refuse(core.BadSignature, "the record says something else than its signed text")
	}
	return nil
}

// Code is an invite code and where it leads.
type Code struct {
	Text      string
	Key       core.PublicKey
	Addr      netip.Addr
	Port      int
	PublicURL string
	Verified  bool
	Record    envelope.Record // of the v2 form; zero for any other
	Created   int64           // ms
	Expires   int64           // ms
	Uses      int             // 0: without limit
	Used      int
}

// Check is Kept.Check for a code.
func (c Code) Check() error {
	if err := checkPublicURL(c.PublicURL); err != nil {
		return err
	}
	if c.Record == (envelope.Record{}) {
		return nil
	}
	opened, err := new(envelope.Opener).OpenRecord(c.Record, envelope.PurposeInvite)
	if err != nil {
		return err
	}
	if h := opened.Value; opened.Key != c.Key || h.Port != c.Port || h.PublicURL != c.PublicURL {
		return core.Refuse(core.BadSignature, "the code says something else than its signed text")
	}
	return nil
}

// sig is the record's signature; zero without one.
func (c Code) sig() [64]byte {
	sig, _ := keys.ParseSignature(c.Record.Signature) // it was verified
	return sig
}

// Network is the address itself, or the /64 of an IPv6 address: what limits count by.
func Network(a netip.Addr) [16]byte { return network(a.As16()) }

// NewCode draws 6 characters, each equally likely.
func NewCode() string { return newCode() }

// What a Store refuses with. docs/rendezvous.md#api
var (
	ErrNoPeer       error = errNoPeer.err
	ErrPeerExpired  error = errExpired.err
	ErrNoCode       error = core.Refuse(core.NotFound, "Invite not found or expired")
	ErrNewer        error = core.Refuse(core.Conflict, "A newer registration is known for this key")
	ErrNewerInvite  error = core.Refuse(core.Conflict, "A newer invite is known for this key")
	ErrBetterSigned error = core.Refuse(core.Conflict, "A better signed registration is known for this key")
	ErrMustBeSigned error = core.Refuse(core.Forbidden, "Deregistration must be signed")
	ErrOtherAddress error = core.Refuse(core.Forbidden, "Registered from another address")
	ErrManyInvites  error = &core.Error{Kind: core.RateLimited, Public: "Too many invites", RetryAfter: time.Minute}
)

// ErrFull is what a Store says that has no room left.
func ErrFull(after time.Duration) error {
	return &core.Error{Kind: core.Unavailable, Public: "The rendezvous is full", RetryAfter: after}
}

// ErrCrowded is what an address gets that has too many records.
func ErrCrowded(after time.Duration) error {
	return &core.Error{Kind: core.RateLimited, Public: "Too many registrations from this address", RetryAfter: after}
}

// ErrTooMany is what an address gets that is over a limit.
func ErrTooMany(after time.Duration) error { return tooMany(after) }

// After reports whether a signed time counts as newer than what is known of a key:
// newest, or, where that was ahead, what came before it. times is what was signed ahead,
// after the newest time that was not; empty: nothing. All are ms.
//
// docs/threat-model.md#v2
func After(times []int64, at, newest, now int64) bool {
	var a *ahead
	if len(times) > 0 {
		a = &ahead{sure: times[0], seen: times[1:]}
	}
	return a.after(at, newest, now)
}
