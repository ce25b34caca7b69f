package sqlite

// queryID names a prepared statement of the readers.
type queryID uint8

const (
	allPeers queryID = iota
	oneReceipt
	receiptsSince
	classesLike
	classesOf
	headsDown
	headsUp
	openStretch
	stretchesDown
	stretchesUp
	inStretch
	theseRows
	oneRowByID
	placeOf
	placeBelow
	classDown
	classUp
	eventsAfter
	countedAfter
	theseCounted
	firstStretch
	cursorOf
	highest
	countDue
	dueByTime
	dueByEvent
	duePending
	nextDelivery
	anyPending
	waitingPeers
	oneOutbox
	outboxByNonce
	allOutbox
	allOutboxDown
	outboxPage
	outboxPageDown
	outboxFailed
	outboxFailedDown
	outboxSome
	outboxSomeDown
	outboxHeads
	outboxHeadsDown
	theseOutbox
	oneReply
	ourReply
	oneMeta
	oneKV
	listKV
	countRows
	countMessages
	countDeliveries
	countPending
	deliveredTo
	cursorNames
	allCursors
	numQueries
)

const (
	// logColumns are those of a message or an event, which scanRow reads.
	logColumns = `l.seq, l.id, l.at, c.peer, c.label, c.status, ifnull(l.nonce, ''), ifnull(l.level, ''), ifnull(l.reason, ''), ifnull(l.sender, ''),
		ifnull(l.recipient, ''), ifnull(l.agent, ''), ifnull(l.sent, ''), ifnull(l.reply_to, ''), ifnull(l.conversation, ''),
		ifnull(l.project, ''), ifnull(l.alias, ''), ifnull(l.hops, ''), l.reply, l.decided, l.data`
	fromLog = ` FROM log l JOIN classes c ON c.id = l.class `

	// countedColumns are those that scanCounted reads.
	countedColumns = `l.seq, l.at, c.peer, c.label, iif(l.decided IS NULL, c.status, 'held'), ifnull(l.conversation, ''), ifnull(l.hops, ''),
		ifnull(length(l.data), 0), iif(c.status = 'event', l.data, NULL)`

	heads   = `SELECT id, (SELECT at FROM log WHERE class = classes.id AND at >= ?1 AND (at, seq) < (?2, ?3) ORDER BY at `
	headsOf = `status NOT IN ('', 'event') AND (?4 = '' OR status = ?4) AND (?5 = '' OR label = ?5)`

	failed        = `SELECT id, seq FROM outbox WHERE state IN ('refused', 'expired') AND state = ?1 AND id > ?2 AND id < ?3 `
	outboxHeadsOf = `WITH RECURSIVE p (peer) AS (SELECT min(peer) FROM outbox WHERE state = ?1
			UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = ?1 AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)
		SELECT peer, (SELECT id FROM outbox WHERE state = ?1 AND peer = p.peer AND id > ?2 AND id < ?3 `

	deliveryColumns = `d.notifier, d.attempts, d.next, d.dead, d.created, d.error, d.grp, `
	withRows        = ` FROM d JOIN log l ON l.seq = d.event JOIN classes c ON c.id = l.class ORDER BY d.event, d.notifier`

	// hasInSet says that a row of log is for a notifier.
	hasInSet = `tell IN (SELECT id FROM tells WHERE notifier = ?1)`

	// eachWaiting goes from peer to peer through the index, and not from envelope to
	// envelope.
	eachWaiting = `p (peer) AS (SELECT min(peer) FROM outbox WHERE state = 'waiting'
		UNION ALL SELECT (SELECT min(peer) FROM outbox WHERE state = 'waiting' AND peer > p.peer) FROM p WHERE p.peer IS NOT NULL)`

	// manyDue is where DueDeliveries goes another way. Few that are due are found
	// by their time and then sorted; when many are, walking all in the order of
	// their events meets enough of them soon.
	manyDue = 250
)

// eachHash goes through an index alone.
const eachHash = `SELECT hash FROM log INDEXED BY log_hash WHERE hash IS NOT NULL`

var queries = [numQueries]string{
	allPeers: `SELECT data FROM peers ORDER BY key`,
	oneReceipt: `SELECT l.at, c.label, l.answered, l.digest, l.answer FROM log l JOIN classes c ON c.id = l.class
		WHERE l.hash IN (?1, ?1 + 1) AND l.nonce = ?2 AND c.peer = ?3`,
	receiptsSince: `SELECT nonce, at, bytes FROM (SELECT nonce, at, ifnull(length(data), 0) AS bytes FROM log WHERE class = ? AND at >= ? AND hash IS NOT NULL
		ORDER BY at DESC LIMIT ?) ORDER BY at`,

	// Zero-length or NULL values select all.
	classesLike: `SELECT id, peer, label, status, cleared FROM classes
		WHERE (?1 IS NULL OR peer = ?1) AND (?2 = '' OR label = ?2) AND (?3 IS NULL OR status = ?3) ORDER BY id LIMIT ?4`,
	classesOf: `SELECT id, peer, label, status, cleared FROM classes WHERE peer = ?1 AND (?2 = '' OR label = ?2) AND (?3 IS NULL OR status = ?3) LIMIT ?4`,
	// What is the first of each class, for a filter that lets many classes through.
	headsDown: heads + `DESC LIMIT 1) FROM classes WHERE ` + headsOf,
	headsUp:   heads + `LIMIT 1) FROM classes WHERE ` + headsOf,

	openStretch:   `SELECT ` + firstOpen,
	stretchesDown: `SELECT first, last, low, high FROM stretches WHERE +low <= ?1 AND high >= ?2 ORDER BY high DESC LIMIT ?3`,
	stretchesUp:   `SELECT first, last, low, high FROM stretches WHERE low <= ?1 AND +high >= ?2 ORDER BY low LIMIT ?3`,
	inStretch: `SELECT l.at, l.seq FROM log l CROSS JOIN classes c ON c.id = l.class WHERE l.seq BETWEEN ?1 AND ?2 AND l.id IS NOT NULL
		AND l.at >= ?3 AND (l.at, l.seq) < (?4, ?5) AND c.status NOT IN ('', 'event') AND (?6 = '' OR c.status = ?6) AND (?7 = '' OR c.label = ?7)`,
	theseRows: `SELECT ` + logColumns + ` FROM json_each(?) j CROSS JOIN log l ON l.seq = j.value CROSS JOIN classes c ON c.id = l.class`,

	oneRowByID: `SELECT ` + logColumns + fromLog + `WHERE l.id = ?`,
	placeOf:    `SELECT at, seq FROM log WHERE id = ?`,
	placeBelow: `SELECT at, seq FROM log WHERE id < ? ORDER BY id DESC LIMIT 1`,
	classDown:  `SELECT at, seq FROM log WHERE class = ?1 AND at >= ?2 AND (at, seq) < (?3, ?4) ORDER BY at DESC, seq DESC LIMIT ?5`,
	classUp:    `SELECT at, seq FROM log WHERE class = ?1 AND at >= ?2 AND (at, seq) < (?3, ?4) ORDER BY at, seq LIMIT ?5`,

	eventsAfter: `SELECT ` + logColumns + fromLog + `WHERE l.seq > ? AND l.id IS NOT NULL ORDER BY l.seq LIMIT ?`,

	countedAfter: `SELECT ` + countedColumns + fromLog + `WHERE l.seq > ? AND l.id IS NOT NULL ORDER BY l.seq LIMIT ?`,
	theseCounted: `SELECT ` + countedColumns + ` FROM json_each(?) j CROSS JOIN log l ON l.seq = j.value CROSS JOIN classes c ON c.id = l.class`,
	firstStretch: `SELECT ifnull((SELECT min(first) FROM stretches WHERE high >= ?), ` + firstOpen + `)`,

	cursorOf: `SELECT seq FROM cursors WHERE notifier = ?`,
	highest:  `SELECT ifnull(max(seq), 0) FROM log`,
	countDue: `SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? LIMIT ?)`,
	dueByTime: `WITH d AS MATERIALIZED (SELECT * FROM deliveries INDEXED BY deliveries_due
		WHERE notifier = ? AND dead = 0 AND next <= ? ORDER BY event LIMIT ?) SELECT ` + deliveryColumns + logColumns + withRows,
	dueByEvent: `WITH d AS MATERIALIZED (SELECT * FROM deliveries
		WHERE notifier = ? AND +dead = 0 AND +next <= ? ORDER BY event LIMIT ?) SELECT ` + deliveryColumns + logColumns + withRows,
	duePending:   `SELECT ifnull((SELECT alone FROM tells WHERE id = l.tell AND notifier = ?1), 0), ` + logColumns + fromLog + `WHERE l.seq > ?2 AND l.` + hasInSet + ` ORDER BY l.seq LIMIT ?3`,
	nextDelivery: `SELECT next FROM deliveries WHERE notifier = ? AND dead = 0 ORDER BY next LIMIT 1`,
	anyPending:   `SELECT EXISTS (SELECT 1 FROM log WHERE seq > ?2 AND ` + hasInSet + `)`,

	waitingPeers:     `WITH RECURSIVE ` + eachWaiting + ` SELECT peer FROM p WHERE peer IS NOT NULL`,
	oneOutbox:        `SELECT body, data FROM outbox WHERE id = ?`,
	outboxByNonce:    `SELECT body, data FROM outbox WHERE nonce = ? AND kind = 'message' ORDER BY id DESC LIMIT 1`,
	allOutbox:        `SELECT id, seq FROM outbox WHERE id > ? AND id < ? ORDER BY id LIMIT ?`,
	allOutboxDown:    `SELECT id, seq FROM outbox WHERE id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxPage:       `SELECT id, seq FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id LIMIT ?`,
	outboxPageDown:   `SELECT id, seq FROM outbox WHERE state = ? AND peer = ? AND id > ? AND id < ? ORDER BY id DESC LIMIT ?`,
	outboxFailed:     failed + `ORDER BY id LIMIT ?4`,
	outboxFailedDown: failed + `ORDER BY id DESC LIMIT ?4`,
	outboxSome:       `SELECT id, seq, state = ?1 FROM outbox WHERE id > ?2 AND id < ?3 ORDER BY id LIMIT ?4`,
	outboxSomeDown:   `SELECT id, seq, state = ?1 FROM outbox WHERE id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4`,
	// What is the first of each peer's queue.
	outboxHeads:     outboxHeadsOf + `ORDER BY id LIMIT 1) FROM p WHERE peer IS NOT NULL`,
	outboxHeadsDown: outboxHeadsOf + `ORDER BY id DESC LIMIT 1) FROM p WHERE peer IS NOT NULL`,
	theseOutbox:     `SELECT o.body, o.data FROM json_each(?) j CROSS JOIN outbox o ON o.seq = j.value`,

	oneReply: `SELECT data FROM replies WHERE nonce = ? AND peer = ? AND ours = 0`,
	ourReply: `SELECT data FROM replies WHERE nonce = ? AND ours = 1 ORDER BY at, peer LIMIT 1`,
	oneMeta:  `SELECT value FROM meta WHERE key = ?`,
	oneKV:    `SELECT value FROM kv WHERE plugin = ? AND key = ifnull(?, x'')`,
	listKV:   `SELECT key, length(value) FROM kv WHERE plugin = ?1 AND key >= ifnull(?2, x'') AND (?3 IS NULL OR key < ?3)`,

	// These count, and so walk an index; doctor and metrics ask.
	countRows: `WITH RECURSIVE ` + eachWaiting + `
		SELECT (SELECT count(*) FROM (SELECT 1 FROM log INDEXED BY log_hash WHERE hash IS NOT NULL LIMIT ?1)),
			(SELECT count(*) FROM (SELECT 1 FROM outbox WHERE state = 'waiting' LIMIT ?1)),
			(SELECT created FROM outbox WHERE id = (
				SELECT min((SELECT min(id) FROM outbox WHERE state = 'waiting' AND peer = p.peer)) FROM p WHERE peer IS NOT NULL))`,
	countMessages: `SELECT count(*) FROM (SELECT 1 FROM classes c CROSS JOIN log l INDEXED BY log_class ON l.class = c.id
		WHERE c.status NOT IN ('', 'event') AND (?1 IS NULL OR c.status = ?1) LIMIT ?2)`,
	deliveredTo: `WITH RECURSIVE n (name) AS (SELECT min(notifier) FROM deliveries
		UNION ALL SELECT (SELECT min(notifier) FROM deliveries WHERE notifier > n.name) FROM n WHERE n.name IS NOT NULL) SELECT name FROM n WHERE name IS NOT NULL`,
	countDeliveries: `SELECT dead, count(*), min(created) FROM (SELECT dead, created FROM deliveries WHERE notifier = ?1 LIMIT ?2) GROUP BY dead`,
	// The rows are bounded, not those among them that are for the notifier: all are read.
	countPending: `SELECT 0, count(*), min(at) FROM (SELECT at, tell FROM log WHERE seq > ?2 LIMIT ?3) WHERE ` + hasInSet,
	cursorNames:  `SELECT notifier FROM cursors`,
	allCursors:   `SELECT notifier, seq FROM cursors`,
}
