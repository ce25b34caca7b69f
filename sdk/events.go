package sdk

// EventProposed: the agent would approve somebody. Only the human can.
const EventProposed = "agent.proposed"

// Fits reports whether an event is a message of one of the intents and from one of the
// peers, by our alias for it or its fingerprint. None of either is all.
func (e *Event) Fits(intents, peers []string) bool {
	return e.Type == EventMessage && (len(intents) == 0 || has(intents, e.Message.Intent)) &&
		(len(peers) == 0 || has(peers, e.Peer.Alias) || has(peers, e.Peer.Fingerprint))
}

func has(list []string, s string) bool {
	for _, e := range list {
		if e == s && s != "" {
			return true
		}
	}
	return false
}

// ReadEvents reads the input of a notify call: for programs that speak of events in the
// words of notices.
func ReadEvents(input string) ([]Event, error) {
	v, err := Parse(input)
	if err != nil {
		return nil, err
	}
	return eventsOf(v), nil
}
