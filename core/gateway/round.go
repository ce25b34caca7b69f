package gateway

import (
	"context"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/answer"
	"github.com/opengatewayprotocol/ogp/core/envelope"
	"github.com/opengatewayprotocol/ogp/core/peers"
)

// heard is what a round has brought.
type heard struct {
	word    string // HeardYes, HeardNo or HeardNil
	label   string // what the peer calls us, for a yes
	signed  bool   // by the peer's v2 signature
	unknown bool   // a no that says it does not know us
	card    core.Card
}

// rename takes over by which label a peer knows us, if it has said yes to it.
func (h heard) rename(p *core.Peer, self core.PublicKey) {
	if h.word == core.HeardYes {
		peers.Rename(p, h.label, self)
	}
}

// round asks a peer once whether it has us approved: its card must show its key, and
// then one message for each label that we may have there.
//
// docs/protocol.md#confirmation
func (s *state) round(ctx context.Context, p *core.Peer, url string) heard {
	card, err := s.cardOf(ctx, p, url)
	s.peers.Checked(p.Key, err, s.o.Now(), s.settings.Load().Health.Failures)
	if err != nil {
		return heard{}
	}
	h := heard{card: card}
	labels, noes := peers.LabelsAt(p, card, s.self, s.settings.Load().URL), 0
	for _, label := range labels {
		nonce := envelope.NewNonce()
		body, err := s.to(p).SealMessage(p.Key, core.Message{Intent: core.IntentStatus, From: label, To: peers.Label(p), Nonce: nonce, Payload: core.Raw("{}")})
		if err != nil {
			return heard{card: card}
		}
		limited, cancel := context.WithTimeout(ctx, s.settings.Load().Health.Timeout)
		a, err := s.o.Transport.Post(limited, url, core.PathMessage, body)
		cancel()
		if err != nil {
			return heard{card: card}
		}
		h.word, h.signed, h.unknown = s.readStatus(p, nonce, a)
		if h.word == core.HeardYes || h.signed {
			h.label = label
			return h
		}
		if h.word == core.HeardNo {
			noes++
		}
	}
	h.word = core.HeardNil
	if noes == len(labels) {
		h.word = core.HeardNo
	}
	return h
}

// readStatus reads the answer to a confirmation. Our own kind signs it, and from a peer
// that has shown v2 only that counts.
func (s *state) readStatus(p *core.Peer, nonce core.Nonce, a core.Answer) (word string, signed, unknown bool) {
	opened, err := envelope.Open(s.opener(context.Background()), envelope.Status, a.Body, envelope.From(p.Key))
	if err == nil && opened.Nonce == nonce {
		if opened.Value.Approved {
			return core.HeardYes, true, false
		}
		return core.HeardNo, true, false
	}
	if p.V2 {
		return core.HeardNil, false, false
	}
	word, unknown = answer.Confirmed(a)
	return word, false, unknown
}

// statusAnswer is the body of our answer to a confirmation, signed for whoever asks.
func (s *state) statusAnswer(k core.PublicKey, nonce core.Nonce, approved bool) (core.Answer, error) {
	v2, err := s.sealer.SealStatus(k, nonce, approved)
	if err != nil {
		return core.Answer{}, err
	}
	return answer.Status(nonce, approved, s.o.Now(), core.Raw(v2)), nil
}

// statusForOthers answers the confirmation of a gateway that is not approved here: no.
// It must be signed in the v2 form for us, with a key of its own; nothing is
// remembered. ok is false for what is no confirmation.
func (s *state) statusForOthers(body []byte) (a core.Answer, ok bool, err error) {
	key, ok := envelope.Issuer(body)
	if !ok {
		return a, false, nil
	}
	opened, err := envelope.Open(s.opener(context.Background()), envelope.Message, body, envelope.From(key))
	if err != nil || opened.Value.Intent != core.IntentStatus || opened.Value.Nonce == "" {
		return a, false, nil
	}
	if p := s.peers.Get(key); p != nil && isApproved(p) {
		return a, false, nil // approved under another label
	}
	a, err = s.statusAnswer(key, opened.Value.Nonce, false)
	return a, true, err
}
