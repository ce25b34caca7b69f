package sdk

// EventProposed: the agent would approve somebody. Only the human can.
const EventProposed = "agent.proposed"

// ReadEvents reads the input of a notify call: for programs that speak of events in the
// words of notices.
func ReadEvents(input string) ([]Event, error) {
	v, err := Parse(input)
	if err != nil {
		return nil, err
	}
	return eventsOf(v), nil
}
