package sdk

func peerOf(v Value) Peer {
	p := Peer{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "alias":
			p.Alias = v.Text()
		case "fingerprint":
			p.Fingerprint = v.Text()
		case "id":
			p.ID = v.Text()
		case "state":
			p.State = v.Text()
		case "gatewayUrl":
			p.GatewayURL = v.Text()
		case "names":
			p.Names = namesOf(v)
		}
	}
	return p
}

func namesOf(v Value) (n Names) {
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "displayName":
			n.Display = v.Text()
		case "humanName":
			n.Human = v.Text()
		case "agentName":
			n.Agent = v.Text()
		case "organization":
			n.Organization = v.Text()
		case "email":
			n.Email = v.Text()
		}
	}
	return n
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

func messageOf(v Value) Message {
	msg := Message{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "id":
			msg.ID = v.Text()
		case "intent":
			msg.Intent = v.Text()
		case "topic":
			msg.Topic = v.Text()
		case "priority":
			msg.Priority = v.Text()
		case "conversationId":
			msg.ConversationID = v.Text()
		case "toAgent":
			msg.ToAgent = v.Text()
		case "level":
			msg.Level = v.Text()
		case "textBytes":
			msg.TextBytes = v.Int()
		case "signedBytes":
			msg.SignedBytes = v.Int()
		case "payload":
			msg.Payload = v
		}
	}
	return msg
}

// Timestamp is when the sender says that it sent the message; the host checked that it is near.
func (m *Message) Timestamp() Time { return timeOf(m.JSON.Get("timestamp")) }

func incomingOf(v Value) *Incoming {
	in := &Incoming{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "now":
			in.Now = timeOf(v)
		case "peer":
			in.Peer = peerOf(v)
		case "message":
			in.Message = messageOf(v)
		}
	}
	return in
}

func requestOf(v Value) *Request {
	r := &Request{JSON: v}
	for m := v.members(); m.next(); {
		switch v := m.value(); m.name() {
		case "now":
			r.Now = timeOf(v)
		case "peer":
			r.Peer = peerOf(v)
		case "request":
			r.OfferedIntents = v.Get("offeredIntents").Texts()
			r.Invite = inviteOf(v.Get("invite"))
			r.URLVerified = v.Get("urlVerified").Bool()
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
