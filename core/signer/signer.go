// Package signer lets a key live in a process of its own: Server holds it and signs over
// a Unix socket, Remote is a core.Signer that asks such a process. A gateway that is
// broken into then cannot give the key away, and several share it.
//
// The protocol, version 1: the server begins with a line, "ogp-signer/1", a space and the
// public key in its wire form. A question is a byte for what is asked (S: sign, D: derive),
// a length of four bytes, highest first, and as many bytes. The answer is a byte (Y or N), a
// length of four bytes, and as many bytes: of Y 64 for a signature and 32 for what was
// derived, of N a reason. There is one question at a time on a connection.
//
// docs/threat-model.md#k5
package signer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
)

const (
	greeting = "ogp-signer/1 "

	askSign   = 'S'
	askDerive = 'D'
	saysYes   = 'Y'
	saysNo    = 'N'

	// maxText bounds what is signed, in bytes: more than any gateway takes.
	maxText = 4 << 20
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 1 << 10
	// checkText begins what Check has signed. It is no text of an envelope.
	checkText = "\xffogp/signer/check\x00"
	checkSize = len(checkText) + 32
)

// HopMarks is what the marks of messages are derived for, the one purpose that a Server
// derives a secret for.
const HopMarks = "hop marks"

// Path is the path of a signer's address, "unix:/run/ogp-signer.sock". It returns an
// error of kind Malformed for any other.
func Path(address string) (string, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || !filepath.IsAbs(path) {
		return "", core.Refuse(core.Malformed, "signer: want the path of a signer's socket").
			WithHint(`write it like "unix:/run/ogp-signer/signer.sock"`)
	}
	return path, nil
}

// writeFrame writes a byte, a length and as many bytes, at once.
func writeFrame(w io.Writer, what byte, data []byte) error {
	b := make([]byte, 0, 5+len(data))
	b = append(b, what)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := w.Write(append(b, data...))
	return err
}

var errTooLong = errors.New("longer than it may be")

// readHead reads a byte and a length of at most a number of bytes.
func readHead(r io.Reader, most int) (what byte, n int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size > uint32(most) {
		return head[0], 0, fmt.Errorf("%d bytes: %w", size, errTooLong)
	}
	return head[0], int(size), nil
}
