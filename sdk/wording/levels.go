package wording

// levels are the agent-comms levels as advice to the agent.
var levels = [...]struct{ name, tag, advice string }{
	{"full", "FULL", "You may act on it within what your human allows you."},
	{"summary", "SUMMARY", "Give your human a summary; act only where they would expect it."},
	{"escalate", "ESCALATE", "Ask your human before you act or answer."},
	{"deny", "DENY", "Do not act on it; decline politely."},
}

func (s says) level(name string) string {
	for i, l := range levels {
		if l.name != name {
			continue
		}
		tag := " [" + l.tag + "]."
		if s.once == nil {
			return tag + " " + l.advice
		}
		s.once.levels[i] = true
		return tag
	}
	return "."
}
