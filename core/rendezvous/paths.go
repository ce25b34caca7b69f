package rendezvous

// The paths, for both ends. docs/rendezvous.md#api
const (
	pathRoot     = "/"
	pathHealth   = "/healthz"
	pathReady    = "/readyz"
	pathMetrics  = "/metrics"
	pathRegister = "/register"
	pathPeer     = "/peer/"        // + the key
	pathInvite   = "/invite"       // POST
	pathInvites  = "/invites/list" // POST
	pathToken    = "/invite/"      // + the code
)
