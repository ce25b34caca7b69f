package plugin

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/opengatewayprotocol/ogp/core/plugin/lookup"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// inputs are the members of what policies are asked. What lies deeper is a list, or is its sender's. sdk/ABI.md#request
var inputs = strings.Fields(`abi hook kind now
	peer.alias peer.tags peer.fingerprint peer.id peer.state peer.gatewayUrl peer.grants
	peer.names.displayName peer.names.email peer.names.humanName peer.names.agentName peer.names.organization
	message.id message.intent message.topic message.priority message.conversationId message.toAgent
	message.timestamp message.signedBytes message.textBytes message.replyWanted message.payload
	request.offeredIntents request.invite request.urlVerified`)

// inside reports whether a path is another, or lies below it.
func inside(path, above string) bool {
	return path == above || strings.HasPrefix(path, above) && path[len(above)] == '.'
}

func (m *Manifest) checkReads() error {
	for _, path := range m.Reads {
		if slices.ContainsFunc(inputs, func(in string) bool { return inside(in, path) }) {
			continue
		}
		for _, in := range inputs {
			if inside(path, in) {
				return fmt.Errorf("reads %q: what is below %q cannot be named apart: name %q", path, in, in)
			}
		}
		near, _ := text.Nearest(path, inputs)
		for _, in := range inputs {
			if strings.EqualFold(in, path) {
				near = in
			}
		}
		if near == "" {
			return fmt.Errorf("reads %q: no policy is asked with such a member: want one such as \"message.textBytes\" or \"peer\"", path)
		}
		return fmt.Errorf("reads %q: no policy is asked with such a member, did you mean %q?", path, near)
	}
	return nil
}

// leftOut are the members of the input that the manifest's reads leave out; none without reads.
func (m *Manifest) leftOut() (out []string) {
	if len(m.Reads) == 0 {
		return nil
	}
	for _, in := range inputs {
		if !slices.ContainsFunc(m.Reads, func(path string) bool { return inside(in, path) }) {
			out = append(out, in)
		}
	}
	return out
}

// part is what of the input a policy is asked with.
type part struct {
	members *lookup.Part
	strict  bool // its answer to less than it looks at is a failure
	asked   atomic.Int64
	wrong   atomic.Bool // it looks at more than it names
}

// A policy that names what it reads is asked with all of the input, too, the first alongSide times and then one time in
// alongRare: what it looks at and does not name would be absent, and it would decide wrongly.
const (
	alongSide = 16
	alongRare = 64
)

// newPart is nil where the manifest names no reads. Until it has passed its self-tests, it is strict.
func newPart(m *Manifest) *part {
	if len(m.Reads) == 0 {
		return nil
	}
	return &part{members: lookup.PartOf(m.Reads), strict: true}
}

// narrow asks with the part of the input that the policy names. Where its answer is another than that to all of the
// input, the latter counts, and the policy is asked with everything from then on.
func (in *instance) narrow(hook Hook, input []byte, ask func(input []byte) (Result, bool, error)) (Result, bool, error) {
	p := in.v.reads
	in.part = p.members.Append(in.part[:0], input)
	r, keep, err := ask(in.part)
	if n := p.asked.Add(1); err != nil || !keep || n > alongSide && n%alongRare != 0 {
		return r, keep, err
	}
	all, keep, err := ask(input)
	if err != nil || all.Status == r.Status && bytes.Equal(all.Output, r.Output) { // an error: that took more than it may, say
		return r, keep, nil
	}
	const what = "decides otherwise when it is asked with all of the input: it looks at more than \"reads\" in plugin.toml names"
	if p.strict {
		return all, keep, in.error(BadAnswer, fmt.Sprintf("%s. It answered %s, and with everything %s", what, inQuotes(r.Output), inQuotes(all.Output)))
	}
	if !p.wrong.Swap(true) {
		in.v.log.to.Warn("a policy "+what+", and is asked with everything from now on", "hook", string(hook),
			"reads", strings.Join(in.v.manifest.Reads, " "), "answer", inQuotes(r.Output), "with everything", inQuotes(all.Output))
	}
	return all, keep, nil
}

// checkPart says why a plugin of these hooks may not be asked with a part of the input: what it is asked twice, to see that
// it decides alike, must change nothing.
func (m *Manifest) checkPart() error {
	if len(m.Reads) == 0 {
		return nil
	}
	for _, h := range m.Hooks {
		if !h.Rule().Pure {
			return fmt.Errorf("reads is for policies, and it answers the hook %q", h)
		}
	}
	if m.KV != nil {
		return errors.New("reads is for policies that keep nothing, and it asks for [kv]")
	}
	return nil
}
