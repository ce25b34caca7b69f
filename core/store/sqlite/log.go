package sqlite

import (
	"database/sql/driver"
	"errors"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/store/internal/rows"
)

// receipt is a core.Receipt on its way into log.
type receipt struct {
	class  classKey
	at     int64
	hash   int64
	nonce  string
	status int64
	digest []byte
	answer []byte
}

func newReceipt(r *core.Receipt) *receipt {
	digest := r.Digest
	answer := r.Answer
	if answer == nil {
		answer = []byte{}
	}
	return &receipt{class: classKey{r.Peer, r.Intent, classReceipt}, at: rows.Nanos(r.At), hash: hashOf(r.Peer, r.Nonce),
		nonce: string(r.Nonce), status: int64(r.Status), digest: digest[:], answer: answer}
}

// logRow is a message or an event on its way into log.
type logRow struct {
	id    string
	at    int64
	class classKey
	nonce driver.Value
	rest  [14]driver.Value // the columns from level on
	tell  []string         // who is yet to be told, perhaps with aloneMark
}

func newMessage(m *core.InboxMessage) (logRow, error) {
	var reply, decided driver.Value
	if m.Reply != nil {
		data, err := rows.Encode(m.Reply)
		if err != nil {
			return logRow{}, err
		}
		reply = data
	}
	if m.Decided != nil {
		data, err := rows.Encode(m.Decided)
		if err != nil {
			return logRow{}, err
		}
		decided = data
	}
	var payload driver.Value
	if m.Message.Payload != nil {
		payload = []byte(m.Message.Payload)
	}
	b := &m.Message
	return logRow{id: m.ID, at: rows.Nanos(m.At), class: classKey{m.Peer, b.Intent, string(m.Status)}, nonce: string(b.Nonce),
		rest: [14]driver.Value{said(m.Level), said(m.Reason), said(b.From), said(b.To), said(b.ToAgent), said(b.Timestamp), said(b.ReplyTo),
			said(b.ConversationID), said(b.ProjectID), said(m.Alias), said(b.Hops), reply, decided, payload}}, nil
}

// said is a text as it is kept: NULL for an empty one, which is read as empty and costs less.
func said(text string) driver.Value {
	if text == "" {
		return nil
	}
	return text
}

func newEvent(e *core.Event) (logRow, error) {
	if e.Type == core.EventMessage {
		return logRow{}, errors.New("a message is its own event")
	}
	data, err := rows.Encode(e)
	row := logRow{id: e.ID, at: rows.Nanos(e.At), class: classKey{e.Peer, string(e.Type), classEvent}}
	row.rest[13] = []byte(data)
	return row, err
}

// isOf reports whether a receipt is that of the message in a row, so that both are
// one row.
func (l *logRow) isOf(r *receipt) bool {
	return l.class.peer == r.class.peer && l.class.label == r.class.label && l.nonce == driver.Value(r.nonce) && l.at == r.at
}

// putReceipt keeps a receipt in a row of its own.
func (s *Store) putReceipt(r *receipt) error {
	c, err := s.class(r.class)
	if err != nil {
		return err
	}
	return s.place(r, func(hash int64) (int64, error) {
		seq, err := s.nextSeq()
		if err != nil {
			return 0, err
		}
		return s.exec(putLog, seq, nil, r.at, c.id, hash, nil, r.nonce, r.status, r.digest, r.answer,
			nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
	}, c)
}

// place puts a receipt where its hash says, or returns rows.ErrTaken.
func (s *Store) place(r *receipt, put func(hash int64) (int64, error), c *class) error {
	for hash := r.hash; hash != r.hash+2; hash++ {
		n, err := put(hash)
		if err != nil {
			return err
		}
		if n > 0 {
			return s.unclear(c, r.at)
		}
		same, err := s.holds(sameReceipt, hash, r.nonce, r.class.peer[:])
		if err != nil {
			return err
		}
		if same {
			break
		}
	}
	return rows.ErrTaken
}

// unclear says that a class has a receipt from before what was cleared.
func (s *Store) unclear(c *class, at int64) error {
	if at >= c.cleared {
		return nil
	}
	_, err := s.exec(setCleared, at, c.id)
	c.cleared = at
	return err
}

// putRow keeps a message or an event, with its receipt if it has one. was says that
// it was there before: whom to tell is then left as it was.
func (s *Store) putRow(l *logRow, r *receipt) (was bool, err error) {
	c, err := s.class(l.class)
	if err != nil {
		return false, err
	}
	seq, err := s.nextSeq()
	if err != nil {
		return false, err
	}
	if l.class.ofMessages() {
		s.index.open.stretch(l.at)
	}
	tell, err := s.tell(l.tell, seq)
	if err != nil {
		return false, err
	}
	values := append(append(s.values[:0], seq, l.id, l.at, c.id, nil, tell, l.nonce, nil, nil, nil), l.rest[:]...)
	s.values = values
	if r == nil {
		_, err = s.exec(putLog, values...)
	} else {
		values[7], values[8], values[9] = r.status, r.digest, r.answer
		err = s.place(r, func(hash int64) (int64, error) {
			values[4] = hash
			return s.exec(putLog, values...)
		}, c)
	}
	if err == nil {
		for _, name := range l.tell {
			s.index.put(strings.TrimSuffix(name, aloneMark), recentRow{seq, l.id})
		}
	}
	if code(err) != sqlite3.SQLITE_CONSTRAINT_UNIQUE {
		return false, err
	}
	if r != nil {
		if err := s.putReceipt(r); err != nil {
			return true, err
		}
	}
	return true, s.replaceRow(l, c)
}

// replaceRow puts a message or an event in the place of its former self.
func (s *Store) replaceRow(l *logRow, c *class) error {
	var old struct {
		seq, at int64
		hash    driver.Value
		class   classKey
		nonce   string
		tell    driver.Value
	}
	err := s.ask(rowByID, 8, func(row []driver.Value) error {
		old.seq, _ = row[0].(int64)
		old.at, _ = row[1].(int64)
		old.hash, old.nonce = row[2], textOf(row[3])
		old.class = classKey{keyOf(row[4]), textOf(row[5]), textOf(row[6])}
		old.tell = row[7]
		return nil
	}, l.id)
	if err != nil {
		return err
	}
	if old.hash != nil {
		if old.at != l.at || old.class.peer != l.class.peer || old.class.label != l.class.label || driver.Value(old.nonce) != l.nonce {
			if err := s.splitReceipt(old.seq, old.at, old.hash, old.class); err != nil {
				return err
			}
		} else if err := s.unclear(c, l.at); err != nil {
			return err
		}
	}
	if old.at != l.at {
		if err := s.keepCreated(l.id, old.seq, old.at, old.tell); err != nil {
			return err
		}
	}
	if l.class.ofMessages() && (old.at != l.at || !old.class.ofMessages()) {
		if err := s.restretch(old.seq, l.at); err != nil {
			return err
		}
	}
	values := append(append(s.values[:0], old.seq, l.at, c.id, l.nonce), l.rest[:]...)
	s.values = values
	_, err = s.exec(replaceLog, values...)
	return err
}

// keepCreated gives rows of their own to deliveries of an event that gets another
// time, as theirs stays.
func (s *Store) keepCreated(id string, seq, at int64, tell driver.Value) error {
	for set, n := range s.index.tells {
		if driver.Value(n) != tell {
			continue
		}
		for name := range strings.SplitSeq(set, "\x00") {
			x := untoldBy(name, id, at)
			if s.index.cursors[x.notifier] >= seq {
				continue
			}
			if err := s.settle(x.notifier, []settling{x}); err != nil {
				return err
			}
		}
	}
	return nil
}

// splitReceipt gives a receipt a row of its own.
func (s *Store) splitReceipt(seq, at int64, hash driver.Value, of classKey) error {
	c, err := s.class(classKey{of.peer, of.label, classReceipt})
	if err != nil {
		return err
	}
	own, err := s.nextSeq()
	if err != nil {
		return err
	}
	if _, err := s.exec(copyReceipt, own, c.id, seq); err != nil {
		return err
	}
	if _, err := s.exec(clearReceipt, seq); err != nil {
		return err
	}
	if _, err := s.exec(setHash, hash, own); err != nil {
		return err
	}
	return s.unclear(c, at)
}
