package a2a

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"
	"github.com/go-json-experiment/json"
	"github.com/oklog/ulid/v2"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// handler answers the calls to one peer.
type handler struct {
	role   Role
	pushes *pushes
	peer   api.AgentPeer
	log    *slog.Logger
}

var _ a2asrv.RequestHandler = (*handler)(nil)

// SkillKey is the member of a message's metadata, or of the call's, that names a skill of
// the card. Without it a message is agent-comms.
const SkillKey = "skillId"

// SendMessage sends a message, and waits for the answer unless the client wants the task at
// once. The wait is bounded: a task that is still open then is polled or subscribed to.
func (h *handler) SendMessage(ctx context.Context, req *a2a.SendMessageRequest) (a2a.SendMessageResult, error) {
	wait := maxWait
	if req.Config != nil && req.Config.ReturnImmediately {
		wait = 0
	}
	sent, err := h.send(ctx, req, wait)
	if err != nil {
		return nil, err
	}
	return task(&sent, true), nil
}

func (h *handler) send(ctx context.Context, req *a2a.SendMessageRequest, wait time.Duration) (api.AgentSent, error) {
	none := api.AgentSent{}
	p, err := h.sending(ctx, req)
	if err != nil {
		return none, err
	}
	var told *push
	if c := req.Config; c != nil && c.PushConfig != nil {
		if told, err = h.pushes.check(c.PushConfig); err == nil {
			err = h.pushes.room(ctx, "", c.PushConfig.ID)
		}
		if err != nil {
			return none, h.fault(err)
		}
	} else {
		p.WaitMillis = wait.Milliseconds()
	}
	sent, err := h.role.Send(ctx, p)
	if err != nil || told == nil {
		return sent, h.fault(err)
	}
	if _, err := h.pushes.add(ctx, &sent, req.Config.PushConfig.ID, told); err != nil {
		return sent, a2a.NewError(a2a.ErrInternalError, "the message is task "+sent.ID+", but push notifications of it could not be set up")
	}
	if wait > 0 && !stateOf(&sent).Terminal() {
		if sent, err = h.role.Result(ctx, api.AgentResultParams{ID: sent.ID, WaitMillis: wait.Milliseconds()}); err != nil {
			return sent, h.fault(err)
		}
	}
	return sent, nil
}

// sending makes a message of ours from a client's.
func (h *handler) sending(ctx context.Context, req *a2a.SendMessageRequest) (api.AgentSendParams, error) {
	p := api.AgentSendParams{Peer: h.peer.Fingerprint, WantReply: true}
	m := req.Message
	if m == nil || len(m.Parts) == 0 {
		return p, a2a.NewError(a2a.ErrInvalidParams, "the message has no parts")
	}
	if m.TaskID != "" { // a task is one message; a further one is another of the same context
		if _, err := h.get(ctx, m.TaskID); err != nil {
			return p, err
		}
		return p, a2a.NewError(a2a.ErrUnsupportedOperation, "a task takes no further message; send one with the same contextId and no taskId")
	}
	for _, meta := range []map[string]any{req.Metadata, m.Metadata} {
		if v, ok := meta[SkillKey]; ok {
			if p.Intent, ok = v.(string); !ok || p.Intent == "" {
				return p, a2a.NewError(a2a.ErrInvalidParams, "skillId is the id of a skill of the card")
			}
		}
	}
	if p.Conversation = m.ContextID; p.Conversation == "" {
		p.Conversation = "a2a-" + strings.ToLower(ulid.Make().String())
	}
	return p, content(&p, m.Parts)
}

// content puts parts into a message: texts, or one JSON object.
func content(p *api.AgentSendParams, parts a2a.ContentParts) error {
	var texts []string
	for _, part := range parts {
		if part == nil {
			return a2a.NewError(a2a.ErrInvalidParams, "a part is null")
		}
		switch v := part.Content.(type) {
		case a2a.Text:
			texts = append(texts, string(v))
		case a2a.Data:
			if len(p.Data) > 0 {
				return a2a.NewError(a2a.ErrInvalidParams, "a message carries one data part at the most")
			}
			data, err := json.Marshal(v.Value, json.Deterministic(true))
			if err != nil {
				return a2a.NewError(a2a.ErrInvalidParams, "the data part is not JSON")
			}
			p.Data = data
		default:
			return a2a.NewError(a2a.ErrUnsupportedContentType, "files cannot be sent to a peer; send text or data")
		}
	}
	p.Text = strings.Join(texts, "\n")
	return nil
}

// get reads one task of this peer. Tasks of other peers are unknown here.
func (h *handler) get(ctx context.Context, id a2a.TaskID) (api.AgentSent, error) {
	sent, err := h.role.Result(ctx, api.AgentResultParams{ID: string(id)})
	return sent, h.known(&sent, err)
}

// known is the error of a task that was read: none, where it is one of this peer.
func (h *handler) known(sent *api.AgentSent, err error) error {
	if err != nil && !errors.Is(err, core.NotFound) {
		return h.fault(err)
	}
	if err != nil || sent.Kind != string(core.OutMessage) || sent.Fingerprint != h.peer.Fingerprint {
		return a2a.ErrTaskNotFound
	}
	return nil
}

func (h *handler) GetTask(ctx context.Context, req *a2a.GetTaskRequest) (*a2a.Task, error) {
	sent, err := h.get(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return task(&sent, true), nil
}

// The number of tasks of a page, as the protocol has it.
const (
	usualPage = 50
	maxPage   = 100
)

// ListTasks lists our messages to this peer, the last changed first, as the protocol wants
// it.
func (h *handler) ListTasks(ctx context.Context, req *a2a.ListTasksRequest) (*a2a.ListTasksResponse, error) {
	size := cmp.Or(req.PageSize, usualPage)
	if size < 1 || size > maxPage {
		return nil, a2a.NewError(a2a.ErrInvalidParams, "pageSize is 1 to 100")
	}
	list, err := h.role.Tasks(ctx, h.peer.Fingerprint, req.ContextID)
	if err != nil {
		return nil, h.fault(err)
	}
	list = slices.DeleteFunc(list, func(s api.AgentSent) bool {
		return req.Status != a2a.TaskStateUnspecified && stateOf(&s) != req.Status || req.StatusTimestampAfter != nil && s.Changed.Before(*req.StatusTimestampAfter)
	})
	slices.SortFunc(list, func(a, b api.AgentSent) int { return strings.Compare(placeOf(&b), placeOf(&a)) })
	out := &a2a.ListTasksResponse{Tasks: []*a2a.Task{}, TotalSize: len(list)}
	if req.PageToken != "" { // the place of the last one that was shown
		list = slices.DeleteFunc(list, func(s api.AgentSent) bool { return placeOf(&s) >= req.PageToken })
	}
	if len(list) > size {
		list = list[:size]
		out.NextPageToken = placeOf(&list[size-1])
	}
	for i := range list {
		out.Tasks = append(out.Tasks, task(&list[i], req.IncludeArtifacts))
	}
	out.PageSize = len(out.Tasks)
	return out, nil
}

// placeOf is where a task stands in a list, as a text that sorts as the time and then the id.
func placeOf(s *api.AgentSent) string {
	return s.Changed.UTC().Format("20060102150405.000000000") + "-" + s.ID
}

// CancelTask gives up a message that the peer does not have yet.
func (h *handler) CancelTask(ctx context.Context, req *a2a.CancelTaskRequest) (*a2a.Task, error) {
	sent, err := h.get(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	if stateOf(&sent) != a2a.TaskStateSubmitted {
		return nil, a2a.NewError(a2a.ErrTaskNotCancelable, "the peer has the message already, or it is done")
	}
	if sent, err = h.role.Cancel(ctx, sent.ID); err != nil {
		return nil, a2a.NewError(a2a.ErrTaskNotCancelable, h.fault(err).Error())
	}
	return task(&sent, true), nil
}

// SendStreamingMessage sends a message, and tells of its task until that is done.
func (h *handler) SendStreamingMessage(ctx context.Context, req *a2a.SendMessageRequest) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		sent, err := h.send(ctx, req, 0)
		if err != nil {
			yield(nil, err)
			return
		}
		h.follow(ctx, sent, yield)
	}
}

// SubscribeToTask tells of a task that is not done.
func (h *handler) SubscribeToTask(ctx context.Context, req *a2a.SubscribeToTaskRequest) iter.Seq2[a2a.Event, error] {
	return func(yield func(a2a.Event, error) bool) {
		sent, err := h.get(ctx, req.ID)
		if err == nil && stateOf(&sent).Terminal() {
			err = a2a.NewError(a2a.ErrUnsupportedOperation, "the task is done; GetTask has its result")
		}
		if err != nil {
			yield(nil, err)
			return
		}
		h.follow(ctx, sent, yield)
	}
}

// followMost is after how long a stream that nothing wakes looks by itself: some changes
// come with time alone.
const followMost = time.Minute

// follow tells of a task as it is, and of each change at once, until it is done, the peer
// is no longer approved, or the stream is old.
func (h *handler) follow(ctx context.Context, sent api.AgentSent, yield func(a2a.Event, error) bool) {
	ctx, stop := context.WithTimeout(ctx, maxStream)
	defer stop()
	if !yield(task(&sent, true), nil) {
		return
	}
	for state := stateOf(&sent); !state.Terminal(); {
		next, err := h.role.Follow(ctx, sent, followMost)
		if ctx.Err() != nil {
			return
		}
		if err := h.known(&next, err); err != nil {
			yield(nil, err)
			return
		}
		sent = next
		if stateOf(&sent) == state {
			continue
		}
		t := task(&sent, true)
		state = t.Status.State
		for _, artifact := range t.Artifacts {
			if !yield(&a2a.TaskArtifactUpdateEvent{TaskID: t.ID, ContextID: t.ContextID, Artifact: artifact, LastChunk: true}, nil) {
				return
			}
		}
		if !yield(&a2a.TaskStatusUpdateEvent{TaskID: t.ID, ContextID: t.ContextID, Status: t.Status}, nil) {
			return
		}
	}
}

// task shows a message of ours as a task.
func task(s *api.AgentSent, artifacts bool) *a2a.Task {
	t := &a2a.Task{ID: a2a.TaskID(s.ID), ContextID: cmp.Or(s.Conversation, s.ID), Status: a2a.TaskStatus{State: stateOf(s)}}
	if !s.Changed.IsZero() {
		t.Status.Timestamp = new(s.Changed.UTC())
	}
	words := s.Problem
	if s.Answered {
		words = s.Answer
	}
	if s.Answered && !s.Failed {
		if artifacts {
			t.Artifacts = []*a2a.Artifact{{ID: "answer", Name: "answer", Description: "The peer's answer, between marks.", Parts: a2a.ContentParts{a2a.NewTextPart(words)}}}
		}
	} else if words != "" {
		t.Status.Message = &a2a.Message{ID: s.ID + "-status", Role: a2a.MessageRoleAgent, TaskID: t.ID, ContextID: t.ContextID, Parts: a2a.ContentParts{a2a.NewTextPart(words)}}
	}
	return t
}

// stateOf is where a message of ours stands, in the protocol's words.
func stateOf(s *api.AgentSent) a2a.TaskState {
	switch {
	case s.Answered && s.Failed:
		return a2a.TaskStateFailed
	case s.Answered:
		return a2a.TaskStateCompleted
	}
	switch s.State {
	case string(core.OutWaiting):
		return a2a.TaskStateSubmitted
	case string(core.OutSent):
		return a2a.TaskStateWorking
	case string(core.OutRefused):
		return a2a.TaskStateRejected
	case "cancelled":
		return a2a.TaskStateCanceled
	}
	return a2a.TaskStateFailed
}

func (h *handler) GetExtendedAgentCard(context.Context, *a2a.GetExtendedAgentCardRequest) (*a2a.AgentCard, error) {
	return nil, a2a.ErrExtendedCardNotConfigured
}
