package envelope

import (
	"bytes"
	"slices"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

// signedPurposes are what a v2 text of a Sealer may be for.
var signedPurposes = []string{
	string(ShapeRequest), string(ShapeApproval), string(ShapeRemoval), string(ShapeMessage), string(ShapeReply), string(ShapeIdentity), string(ShapeStatus),
	PurposeRegister, PurposeInvite, PurposeDeregister, PurposeList, PurposeRevoke,
}

// legacyShapes are the shapes of the texts that a Sealer signs for gateways before v2.
var legacyShapes = []Shape{ShapeRequest, ShapeApproval, ShapeRemoval, ShapeMessage, ShapeReply, ShapeIdentity, ShapeRegistration}

// Signable is nil for bytes that a Sealer of the key k has signed, and an error of kind
// Forbidden for all others: a signature over anything else would be of use elsewhere.
//
// docs/threat-model.md#k5
func Signable(k core.PublicKey, text []byte) error {
	if len(text) == 0 || text[0] != 0xff {
		return legacySignable(k, text)
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
		return nil
	}
	return core.Refuse(core.Forbidden, "not from this key")
}

func legacySignable(k core.PublicKey, text []byte) error {
	ms, err := readMembers(text)
	if err != nil || len(ms) == 0 || !slices.ContainsFunc(legacyShapes, ms.is) {
		return core.Refuse(core.Forbidden, "not the text of an envelope")
	}
	if id := ms.bytes("peerId"); len(ms) == 2 && id != nil && string(id) != k.ID() {
		return core.Refuse(core.Forbidden, "not from this key")
	}
	return nil
}
