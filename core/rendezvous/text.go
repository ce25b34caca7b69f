package rendezvous

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/keys"
)

// writeText writes a registration's text as gateways do.
func writeText(f form, k core.PublicKey, port int, publicURL string, at int64) string {
	b := make([]byte, 0, 192+len(publicURL))
	b = append(b, '{')
	if f == formOurs {
		b = append(b, `"purpose":"`+envelope.PurposeRegister+`",`...)
	}
	b = append(b, `"pubkey":"`...)
	b = appendKey(b, k)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(port), 10)
	if publicURL != "" {
		b = append(b, `,"publicUrl":`...)
		b = appendString(b, publicURL)
	}
	b = append(b, `,"timestamp":"`...)
	b = time.UnixMilli(at).UTC().AppendFormat(b, core.TimeFormat)
	return string(append(b, `"}`...))
}

func appendKey(b []byte, k core.PublicKey) []byte {
	return hex.AppendEncode(append(b, core.SPKIPrefix...), k[:])
}

func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // invalid UTF-8 was refused when it came
	return b
}

func parseSig(text string) ([64]byte, error) { return keys.ParseSignature(text) }

func formatSig(sig [64]byte) string { return hex.EncodeToString(sig[:]) }
