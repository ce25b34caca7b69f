package brake

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Held begins the reason of what the brake holds, so that it can be told from what a
// policy holds.
const Held = "brake: "

// Settings are what the operator chooses, a part of the [agent] table of the configuration.
// Zero members bound nothing.
type Settings struct {
	MaxTurns int `koanf:"max_turns" unit:"turns" check:"0.." doc:"How often agents may go back and forth in one conversation within an hour. What a peer sends beyond it is held. 0: no limit."`
	Rate     int `koanf:"breaker_rate" unit:"messages" check:"0.." doc:"A peer that sends more messages than this within ten minutes, and three times what it usually sends, is paused. 0: never."`
	Repeats  int `koanf:"breaker_repeats" unit:"messages" check:"0.." doc:"A peer that sends the same text more often than this within ten minutes is paused. 0: never."`
	Budget   Use `koanf:"budget" doc:"What one peer's messages of one intent may cost within 24 hours. Messages beyond it are held."`
}

// Defaults are the settings of an operator who chooses none. docs/agents.md#the-brake
func Defaults() Settings {
	return Settings{MaxTurns: 20, Rate: 100, Repeats: 20, Budget: Use{Messages: 1000, Bytes: 16 << 20, Runs: 400}}
}

// Options are what a Brake is made of.
type Options struct {
	Key      [32]byte // of the marks: ours alone, and the same after a restart
	Settings func() Settings
	Now      func() time.Time // nil: time.Now
	// Wakes says whether the agent runs once for each message that is let in. nil: it does
	// not, or many make one run.
	Wakes func() bool
	// Shared says that other nodes let messages in, too: the store counts what Uses has.
	Shared bool
}

// Brake judges what comes, and marks what goes. A nil Brake stops nothing. Safe for
// concurrent use.
type Brake struct {
	o    Options
	used Tally[Line]
	owed Tally[Line] // runs to come, for what was let in
	all  Tally[core.PublicKey]

	mu     sync.Mutex // guards the rest
	peers  map[core.PublicKey]*peer
	heard  map[string]heard // by conversation
	last   heard
	paused map[core.PublicKey]Pause
	spent  map[Line]spent
	ran    map[Line]struct{} // whose runs are to be written down
	runs   []core.Use        // that are to be counted, where the store is Shared

	began time.Time
}

// Line is what a budget is for: one peer's messages of one intent.
type Line struct {
	Peer   core.PublicKey
	Intent string
}

// heard is a message that the agent was told of.
type heard struct {
	at           time.Time
	peer         core.PublicKey
	conversation string
	hops         string
}

// Pause says why nothing of a peer's reaches the agent.
type Pause struct {
	By     string    `json:"by"` // "operator" or "breaker"
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// New makes a brake that has seen nothing.
func New(o Options) *Brake {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Brake{o: o, began: o.Now(), peers: map[core.PublicKey]*peer{}, heard: map[string]heard{}, paused: map[core.PublicKey]Pause{}, spent: map[Line]spent{}, ran: map[Line]struct{}{}}
}

// How long things count.
const (
	turnsFor = time.Hour
	rateFor  = 10 * time.Minute
	// An agent that sends within this time of what it has heard, and says nothing of what
	// it is about, is taken to send because of that.
	becauseOf = 5 * time.Minute
)

// peer is what is counted of one.
type peer struct {
	talks   map[string]*talk // by conversation; "": those that the agent has no part in
	minutes [10]minute       // of the last ten
	texts   map[[sha256.Size]byte]times
	told    map[string]time.Time // when the human was last told that something is held, by why
}

type minute struct {
	at int64 // minutes since 1970
	n  int
}

// talk is a conversation: a turn is a message of theirs after an act of our agent.
type talk struct {
	acted bool // since their last message
	last  time.Time
	turns times
}

// times are when something happened, the oldest first.
type times []time.Time

func (t times) since(at time.Time) times {
	for len(t) > 0 && t[0].Before(at) {
		t = t[1:]
	}
	return t
}

// maxKept bounds what is kept of one peer's making.
const maxKept = 512

func (b *Brake) peer(k core.PublicKey) *peer {
	p := b.peers[k]
	if p == nil {
		p = &peer{talks: map[string]*talk{}, texts: map[[sha256.Size]byte]times{}, told: map[string]time.Time{}}
		b.peers[k] = p
	}
	return p
}

func (p *peer) talk(conversation string, now time.Time) *talk {
	t := p.talks[conversation]
	if t == nil {
		if len(p.talks) >= maxKept {
			for name, old := range p.talks {
				if now.Sub(old.last) > turnsFor {
					delete(p.talks, name)
				}
			}
		}
		if len(p.talks) >= maxKept && conversation != "" {
			return p.talk("", now)
		}
		t = &talk{}
		p.talks[conversation] = t
	}
	t.last = now
	return t
}

// Arrival is a message that all else lets in.
type Arrival struct {
	Peer         core.PublicKey
	Intent       string
	Conversation string
	Hops         string
	Payload      []byte
}

// Verdict is what becomes of it.
type Verdict struct {
	Hold  string // why it is held for the human; "": it is not
	Tell  bool   // the human has not been told of this yet
	Pause *Pause // the breaker has paused the peer, which is to be kept

	undo func()
}

// Undo takes back what was counted of a message that was not kept.
func (v Verdict) Undo() {
	if v.undo != nil {
		v.undo()
	}
}

// Arrives judges a message, and counts it.
func (b *Brake) Arrives(a Arrival) Verdict {
	if b == nil {
		return Verdict{}
	}
	now, s := b.o.Now(), b.o.Settings()
	usual := b.all.Of(a.Peer, now).Messages / (hours * 6) // in ten minutes
	line, one := Line{a.Peer, a.Intent}, Use{Messages: 1, Bytes: int64(len(a.Payload))}
	b.all.Add(a.Peer, now, one)
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peer(a.Peer)
	v := Verdict{}
	fast := p.count(a.Payload, now, usual, s)
	pause, is := b.paused[a.Peer]
	turns := p.turn(a.Conversation, now)
	switch {
	case is:
		v.Hold, v.Tell = pause.word(), p.tell("pause", now)
	case fast != "":
		pause = Pause{By: "breaker", Reason: fast, At: now.UTC()}
		b.paused[a.Peer] = pause
		v = Verdict{Hold: pause.word(), Tell: true, Pause: &pause}
		p.told["pause"] = now
	case s.MaxTurns > 0 && turns > s.MaxTurns:
		v.Hold, v.Tell = fmt.Sprintf("the agents have gone back and forth %s within an hour", text.Count(s.MaxTurns, "time")), p.tell("turns", now)
	case b.isSpent(line, s.Budget, len(a.Payload), now),
		b.used.Of(line, now).Plus(one).Plus(Use{Runs: 1 + max(b.owed.Of(line, now).Runs, 0)}).Over(s.Budget): // it would wake the agent
		v.Hold, v.Tell = "what this peer's messages of the intent "+a.Intent+" may cost in a day is used up", p.tell("budget "+a.Intent, now)
	default:
		b.used.Add(line, now, one)
		if b.wakes() {
			b.owed.Add(line, now, Use{Runs: 1})
		}
		b.last = heard{now, a.Peer, a.Conversation, a.Hops}
		b.hears(a.Conversation, b.last)
	}
	v.undo = func() { b.undo(a, v, now, b.wakes()) }
	return v
}

func (b *Brake) wakes() bool { return b.o.Wakes != nil && b.o.Wakes() }

// undo takes back what Arrives has counted at a time.
func (b *Brake) undo(a Arrival, v Verdict, at time.Time, owed bool) {
	line, none := Line{a.Peer, a.Intent}, Use{Messages: -1, Bytes: -int64(len(a.Payload))}
	b.all.Add(a.Peer, at, none)
	if v.Hold == "" {
		b.used.Add(line, at, none)
		if owed {
			b.owed.Add(line, at, Use{Runs: -1})
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peer(a.Peer)
	p.uncount(a.Payload, at)
	if v.Pause != nil && b.paused[a.Peer] == *v.Pause {
		delete(b.paused, a.Peer)
	}
	for why, told := range p.told {
		if v.Tell && told.Equal(at) {
			delete(p.told, why)
		}
	}
}

func (p Pause) word() string {
	if p.Reason == "" {
		return "this peer is paused"
	}
	return "this peer is paused: " + p.Reason
}

// tell reports whether the human has not heard of a reason within a day.
func (p *peer) tell(why string, now time.Time) bool {
	if at, ok := p.told[why]; ok && now.Sub(at) < hours*time.Hour {
		return false
	}
	if len(p.told) >= maxKept {
		clear(p.told)
	}
	p.told[why] = now
	return true
}

// hears notes the chain of a conversation.
func (b *Brake) hears(conversation string, h heard) {
	if conversation == "" {
		return
	}
	if len(b.heard) >= 8*maxKept {
		for name, old := range b.heard {
			if h.at.Sub(old.at) > turnsFor {
				delete(b.heard, name)
			}
		}
	}
	if len(b.heard) < 8*maxKept {
		b.heard[conversation] = h
	}
}

// turn counts a message of theirs in a conversation, and says how many turns it has had
// within an hour.
func (p *peer) turn(conversation string, now time.Time) int {
	t := p.talks[conversation]
	if t == nil || now.Sub(t.last) > turnsFor {
		t = p.talk("", now) // the agent has no part in that one
	}
	t.last = now
	t.turns = t.turns.since(now.Add(-turnsFor))
	if t.acted {
		t.turns, t.acted = append(t.turns, now), false
	}
	return len(t.turns)
}

// count counts a message toward the peer's rate, and says what is wrong with that.
func (p *peer) count(payload []byte, now time.Time, usual int, s Settings) string {
	at := now.Unix() / 60
	m := &p.minutes[at%10]
	if m.at != at {
		*m = minute{at: at}
	}
	m.n++
	sum := 0
	for _, m := range p.minutes {
		if m.at > at-10 && m.at <= at {
			sum += m.n
		}
	}
	if s.Rate > 0 && sum > max(s.Rate, 3*usual) {
		return fmt.Sprintf("it sent %s within ten minutes, and usually sends %d", text.Count(sum, "message"), usual)
	}
	if s.Repeats <= 0 {
		return ""
	}
	if len(p.texts) >= maxKept {
		for name, t := range p.texts {
			if len(t.since(now.Add(-rateFor))) == 0 {
				delete(p.texts, name)
			}
		}
	}
	digest := sha256.Sum256(payload)
	same := append(p.texts[digest].since(now.Add(-rateFor)), now)
	if len(p.texts) < maxKept || len(same) > 1 {
		p.texts[digest] = same
	}
	if len(same) > s.Repeats {
		return fmt.Sprintf("it sent the same text %s within ten minutes", text.Count(len(same), "time"))
	}
	return ""
}

// uncount takes a message back from the peer's rate.
func (p *peer) uncount(payload []byte, at time.Time) {
	if m := &p.minutes[at.Unix()/60%10]; m.at == at.Unix()/60 && m.n > 0 {
		m.n--
	}
	digest := sha256.Sum256(payload)
	if i := slices.Index(p.texts[digest], at); i >= 0 {
		p.texts[digest] = slices.Delete(slices.Clone(p.texts[digest]), i, i+1)
	}
}

// Sends gives the marks of a message of ours. Only what the agent sends goes on with a
// chain, that of the conversation or else of what it has just heard: a human's own message
// begins one.
//
// It returns an error of kind RateLimited where the agents have had their turns.
func (b *Brake) Sends(k core.PublicKey, conversation string, byAgent bool) (hops string, err error) {
	if b == nil {
		return "", nil
	}
	if !byAgent {
		return b.mark(), nil
	}
	now, s := b.o.Now(), b.o.Settings()
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.peer(k)
	if t := p.talks[conversation]; s.MaxTurns > 0 && t != nil && len(t.turns.since(now.Add(-turnsFor))) > s.MaxTurns {
		e := core.Refusef(core.RateLimited, "you have gone back and forth with this peer %s within an hour; tell your human", text.Count(s.MaxTurns, "time"))
		e.RetryAfter = turnsFor
		return "", e
	}
	p.acts(conversation, now)
	cause, is := b.heard[conversation]
	if !is || now.Sub(cause.at) >= turnsFor {
		cause, is = b.last, now.Sub(b.last.at) < becauseOf
	}
	if !is {
		return b.mark(), nil
	}
	b.peer(cause.peer).acts(cause.conversation, now) // in a ring, they are not the same
	return b.after(cause.hops), nil
}

// Answers notes that the agent has answered a message of a conversation.
func (b *Brake) Answers(k core.PublicKey, conversation string) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.peer(k).acts(conversation, b.o.Now())
}

func (p *peer) acts(conversation string, now time.Time) {
	p.talk(conversation, now).acted = true
	p.talk("", now).acted = true
}

// Ran counts one run of the agent, for the lines of the messages that it was told of. each
// says that it is told of every message by itself.
func (b *Brake) Ran(lines []Line, tokens int64, each bool) {
	if b == nil {
		return
	}
	now := b.o.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, l := range lines {
		if each {
			b.owed.Add(l, now, Use{Runs: -1})
		}
		if slices.Contains(lines[:i], l) {
			continue
		}
		u := Use{Runs: 1}
		if i == 0 {
			u.Tokens = tokens
		}
		b.used.Add(l, now, u)
		if b.o.Shared {
			b.runs = append(b.runs, core.Use{Peer: l.Peer, Of: core.UseRan + l.Intent, At: now, Bytes: int(u.Tokens), Most: core.Unlimited(hours * time.Hour)})
			continue
		}
		b.ran[l] = struct{}{}
	}
}

// Paused says whether a peer is paused, and why.
func (b *Brake) Paused(k core.PublicKey) (Pause, bool) {
	if b == nil {
		return Pause{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.paused[k]
	return p, ok
}

// Set pauses a peer, or lets it go on with nil, and forgets then what paused it. It keeps
// nothing: Key is where the caller does.
func (b *Brake) Set(k core.PublicKey, p *Pause) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p != nil {
		b.paused[k] = *p
		return
	}
	delete(b.paused, k)
	if counted := b.peers[k]; counted != nil {
		counted.minutes, counted.texts = [10]minute{}, map[[sha256.Size]byte]times{}
		delete(counted.told, "pause")
	}
}

// Used is what a peer's messages of an intent have cost within 24 hours.
func (b *Brake) Used(l Line) Use {
	if b == nil {
		return Use{}
	}
	return b.used.Of(l, b.o.Now())
}

// Budget is what they may cost.
func (b *Brake) Budget() Use {
	if b == nil {
		return Use{}
	}
	return b.o.Settings().Budget
}
