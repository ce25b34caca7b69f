package rendezvous

import (
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// appendRecordText writes a registration's text as gateways of ours do. maxAge is in seconds.
func appendRecordText(b []byte, k core.PublicKey, port int, publicURL string, maxAge uint32, at int64) []byte {
	b = append(b, `{"ctx":"`...)
	b = append(b, envelope.RecordCtx(envelope.PurposeRegister)...)
	b = append(b, `","pubkey":"`...)
	b = appendKey(b, k)
	b = append(b, `","port":`...)
	b = strconv.AppendInt(b, int64(port), 10)
	if publicURL != "" {
		b = append(b, `,"publicUrl":`...)
		b = appendString(b, publicURL)
	}
	if maxAge > 0 {
		b = append(b, `,"maxAge":`...)
		b = strconv.AppendUint(b, uint64(maxAge), 10)
	}
	b = append(b, `,"timestamp":"`...)
	b = time.UnixMilli(at).UTC().AppendFormat(b, core.TimeFormat)
	return append(b, `"}`...)
}

func appendKey(b []byte, k core.PublicKey) []byte {
	return hex.AppendEncode(append(b, core.SPKIPrefix...), k[:])
}

func appendString[T ~[]byte | ~string](b []byte, s T) []byte {
	b, _ = jsontext.AppendQuote(b, s) // invalid UTF-8 was refused when it came
	return b
}
