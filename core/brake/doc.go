// Package brake bounds what agents that answer each other can cost. It has four parts: a
// chain of marks in messages, by which a gateway sees that a message has been here twice;
// a limit of turns by conversation and hour, for peers that carry no marks; a budget of
// what one peer's messages of one intent may cost in a day; and a breaker that pauses a
// peer whose messages come much faster than usual, or say the same again and again.
//
// What it refuses is final, and what it holds is kept for the human: it loses nothing.
//
// docs/agents.md#the-brake
package brake
