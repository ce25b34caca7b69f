// Package rendezvous helps gateways find each other: a server that keeps, for a
// minute and a half, which key said it can be reached where, and the client of
// it. It carries no envelopes. What a client gets back is the other gateway's own
// signed text, so that a hostile server can withhold and cannot lie; the caller
// compares the key of the card that it fetches with the key it asked for.
//
// docs/rendezvous.md, docs/threat-model.md#rendezvous
package rendezvous
