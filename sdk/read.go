package sdk

func peerOf(v Value) (p Peer) {
	if v.Exists() {
		(&walk{text: v.text}).peer(&p)
	}
	return p
}

// peer reads the value at hand.
func (w *walk) peer(p *Peer) {
	in, ok := w.object()
	if !ok {
		p.JSON = w.value()
		return
	}
	for in.next() {
		switch in.name {
		case "alias":
			p.Alias = in.str()
		case "fingerprint":
			p.Fingerprint = in.str()
		case "id":
			p.ID = in.str()
		case "state":
			p.State = in.str()
		case "gatewayUrl":
			p.GatewayURL = in.str()
		case "names":
			in.names(&p.Names)
		default:
			in.pass()
		}
	}
	p.JSON = w.took(&in)
}

func (w *walk) names(n *Names) {
	in, ok := w.object()
	if !ok {
		w.pass()
		return
	}
	for in.next() {
		switch in.name {
		case "displayName":
			n.Display = in.str()
		case "humanName":
			n.Human = in.str()
		case "agentName":
			n.Agent = in.str()
		case "organization":
			n.Organization = in.str()
		case "email":
			n.Email = in.str()
		default:
			in.pass()
		}
	}
	w.took(&in)
}

// Intents are those that we grant the peer.
func (p *Peer) Intents() []string {
	var all []string
	p.JSON.Get("grants").Each(func(_ string, g Value) bool {
		if g.Kind() == Text {
			all = append(all, g.Text())
		} else if intent := g.Get("intent").Text(); intent != "" {
			all = append(all, intent)
		}
		return true
	})
	return all
}

func messageOf(v Value) (msg Message) {
	if v.Exists() {
		(&walk{text: v.text}).message(&msg)
	}
	return msg
}

// message reads the value at hand.
func (w *walk) message(msg *Message) {
	in, ok := w.object()
	if !ok {
		msg.JSON = w.value()
		return
	}
	for in.next() {
		switch in.name {
		case "id":
			msg.ID = in.str()
		case "intent":
			msg.Intent = in.str()
		case "topic":
			msg.Topic = in.str()
		case "priority":
			msg.Priority = in.str()
		case "conversationId":
			msg.ConversationID = in.str()
		case "toAgent":
			msg.ToAgent = in.str()
		case "level":
			msg.Level = in.str()
		case "textBytes":
			msg.TextBytes = in.value().Int()
		case "signedBytes":
			msg.SignedBytes = in.value().Int()
		case "payload":
			msg.Payload = in.value()
		default:
			in.pass()
		}
	}
	msg.JSON = w.took(&in)
}

// Timestamp is when the sender says that it sent the message; the host checked that it is near.
func (m *Message) Timestamp() Time { return timeOf(m.JSON.Get("timestamp")) }

func incomingOf(v Value) *Incoming {
	in := &Incoming{JSON: v}
	for w := v.walk(); w.next(); {
		switch w.name {
		case "now":
			in.Now = timeOf(w.value())
		case "peer":
			w.peer(&in.Peer)
		case "message":
			w.message(&in.Message)
		default:
			w.pass()
		}
	}
	return in
}

func requestOf(v Value) *Request {
	r := &Request{JSON: v}
	for w := v.walk(); w.next(); {
		switch w.name {
		case "now":
			r.Now = timeOf(w.value())
		case "peer":
			w.peer(&r.Peer)
		case "request":
			v := w.value()
			r.OfferedIntents = v.Get("offeredIntents").Texts()
			r.Invite = inviteOf(v.Get("invite"))
			r.URLVerified = v.Get("urlVerified").Bool()
		default:
			w.pass()
		}
	}
	return r
}

// inviteOf takes the code itself, or an object that carries it.
func inviteOf(v Value) string {
	if v.Kind() == Map {
		return v.Get("code").Text()
	}
	return v.Text()
}

// eventOf reads one entry: {"event":{...},"peer":...,"message":...,"text":...}, or the
// same with the event's own members beside the others.
func eventOf(v Value, attempt int64, command string) Event {
	head := v.Get("event")
	if head.Kind() != Map {
		head = v
	}
	text := v.Get("text")
	if !text.Exists() {
		text = head.Get("text")
	}
	return Event{
		ID: head.Get("id").Text(), Type: head.Get("type").Text(), At: timeOf(head.Get("at")),
		Peer: peerOf(v.Get("peer")), Message: messageOf(v.Get("message")), Text: text.Text(),
		By: head.Get("by").Text(), Data: head.Get("data"), Attempt: attempt, Command: command, JSON: v,
	}
}

// eventsOf reads a notify input: a batch where there is one, else the single event.
func eventsOf(v Value) []Event {
	attempt, command := v.Get("attempt").Int(), v.Get("command").Text()
	batch := v.Get("events")
	if batch.Kind() != Array || batch.Len() == 0 {
		return []Event{eventOf(v, attempt, command)}
	}
	var all []Event
	batch.Each(func(_ string, e Value) bool {
		all = append(all, eventOf(e, attempt, command))
		return true
	})
	return all
}

func (d Decision) json() string {
	return decided(d.Verdict, d.Reason, d.Code).TextIf("level", d.Level).JSON()
}

func (a Approval) json() string {
	o := decided(a.Verdict, a.Reason, a.Code)
	if a.Verdict == VerdictAllow && !a.atMost {
		grants := make([]*Object, len(a.Grants))
		for i, g := range a.Grants {
			grants[i] = g.object()
		}
		o.Objects("grants", grants)
	}
	return o.JSON()
}

func decided(v Verdict, reason, code string) *Object {
	if v == "" {
		v = VerdictAbstain
	}
	return new(Object).Text("decision", string(v)).TextIf("reason", reason).TextIf("code", code)
}

func (g Grant) object() *Object {
	o := new(Object).Text("intent", g.Intent).Bool("enabled", true)
	if len(g.Topics) > 0 {
		o.Texts("topics", g.Topics)
	}
	if g.Requests > 0 && g.WindowSeconds > 0 {
		o.Object("rateLimit", new(Object).Int("requests", g.Requests).Int("windowSeconds", g.WindowSeconds))
	}
	if g.Bytes > 0 && g.BytesSeconds > 0 {
		o.Object("byteLimit", new(Object).Int("bytes", g.Bytes).Int("windowSeconds", g.BytesSeconds))
	}
	return o
}

// RateOf reads a rate as people write it, "100/3600": requests in seconds.
func RateOf(s string) (requests, windowSeconds int64, ok bool) {
	for i := range s {
		if s[i] != '/' {
			continue
		}
		requests, ok1 := ParseInt(s[:i])
		window, ok2 := ParseInt(s[i+1:])
		return requests, window, ok1 && ok2 && requests > 0 && window > 0
	}
	return 0, 0, false
}

func (o Outcome) json() string {
	status := o.Status
	if status == "" {
		status = StatusFailed
	}
	var b Object
	b.Text("status", string(status))
	if o.RetryAfter > 0 {
		b.Int("retryAfterSeconds", o.RetryAfter)
	}
	b.TextIf("detail", o.Detail)
	if o.Tokens > 0 {
		b.Int("tokens", o.Tokens)
	}
	if o.reply != "" {
		b.Raw("reply", o.reply)
	}
	if len(o.Notified) > 0 {
		b.Texts("notified", o.Notified)
	}
	return b.JSON()
}

func (a Answer) json() string {
	if a.failed {
		return new(Object).Text("status", "error").Text("error", a.err).JSON()
	}
	data := a.data
	if data == "" {
		data = "{}"
	}
	return new(Object).Text("status", "ok").Raw("data", data).JSON()
}
