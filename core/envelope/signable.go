package envelope

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

// signedPurposes are what a v2 text of a Sealer may be for.
var signedPurposes = []string{
	string(ShapeRequest), string(ShapeApproval), string(ShapeRemoval), string(ShapeMessage), string(ShapeReply), string(ShapeIdentity), string(ShapeStatus),
	PurposeRegister, PurposeInvite, PurposeDeregister, PurposeList, PurposeRevoke,
}

// legacyShapes are the shapes of the texts that a Sealer signs for gateways before v2.
var legacyShapes = []Shape{ShapeRequest, ShapeApproval, ShapeRemoval, ShapeMessage, ShapeReply, ShapeIdentity, ShapeRegistration}

// signLead is how far ahead of the clock the time of a text may be that is to be signed: as
// far as one that is not refused elsewhere, since clocks are put back.
const signLead = core.DefaultWindow

// Signable is nil for bytes that a Sealer of the key k has signed now, and an error of kind
// Forbidden for all others: a signature over anything else would be of use elsewhere, and
// one over a later time when whoever had it signed may have nothing signed any more.
//
// docs/threat-model.md#k5
func Signable(k core.PublicKey, text []byte, now time.Time) error {
	if len(text) == 0 || text[0] != 0xff {
		return legacySignable(k, text, now)
	}
	ctx, text, ok := bytes.Cut(text[1:], []byte{0})
	purpose, known := strings.CutPrefix(string(ctx), ctxPrefix)
	if !ok || !known || !slices.Contains(signedPurposes, purpose) {
		return core.Refuse(core.Forbidden, "not for a purpose of an envelope")
	}
	ms, err := readMembers(text)
	if err != nil || len(ms) == 0 || string(ms.bytes("ctx")) != string(ctx) {
		return core.Refuse(core.Forbidden, "not the text of its purpose")
	}
	if isKey(ms.bytes("iss"), k) || isKey(ms.bytes("pubkey"), k) {
		return notAhead(ms, now)
	}
	return core.Refuse(core.Forbidden, "not from this key")
}

func legacySignable(k core.PublicKey, text []byte, now time.Time) error {
	ms, err := readMembers(text)
	if err != nil || len(ms) == 0 || !slices.ContainsFunc(legacyShapes, ms.is) {
		return core.Refuse(core.Forbidden, "not the text of an envelope")
	}
	if !ms.is(ShapeIdentity) { // which says no time
		if err := notAhead(ms, now); err != nil {
			return err
		}
	}
	if id := ms.bytes("peerId"); len(ms) == 2 && id != nil && string(id) != k.ID() {
		return core.Refuse(core.Forbidden, "not from this key")
	}
	return nil
}

// notAhead is nil where a text says a time that is not after now.
func notAhead(ms members, now time.Time) error {
	at, err := core.ParseTime(string(ms.bytes("timestamp")))
	if err != nil || at.Sub(now) > signLead {
		return core.Refuse(core.Forbidden, "not of now: its time is ahead, or none")
	}
	return nil
}
