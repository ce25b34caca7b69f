package gateway

import (
	"net/http"

	"github.com/opengatewayprotocol/ogp/core"
)

type received struct {
	Received bool   `json:"received"`
	Status   string `json:"status,omitempty"`
	PeerID   string `json:"peerId,omitempty"`
	Message  string `json:"message,omitempty"`
}

var (
	answerPending  = received{Received: true, Status: "pending", Message: "Federation request received and pending approval"}
	answerReceived = received{Received: true}
)

func ok(v any) core.Answer { return core.Answer{Status: http.StatusOK, Body: encode(v)} }
