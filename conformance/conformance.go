// Package conformance holds cases for gateways.
package conformance
