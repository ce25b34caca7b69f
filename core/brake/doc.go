// Package brake bounds what agents that answer each other can cost: it counts what a
// peer's messages and the agent's own take in a day.
package brake
