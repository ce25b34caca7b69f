//go:build unix

package openclaw

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// model is a small mock of a language model behind the OpenAI chat completions API. It
// says the same to everything and remembers what it was asked.
type model struct {
	server *httptest.Server

	mu      sync.Mutex // guards prompts
	prompts []string   // one for each completion: the texts of all its messages
	tools   []string   // that the last completion could use
	answer  string     // what it answers a message of a peer with, by the tool reply; empty: nothing
}

// saying is what the model answers. It has no marker in it, so that an answer that comes
// back in a later prompt counts for nothing.
const saying = "Noted."

func newModel(t *testing.T) *model {
	m := &model{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"object":"list","data":[{"id":"echo","object":"model","created":1,"owned_by":"mock"}]}`)
	})
	mux.HandleFunc("POST /v1/chat/completions", m.complete)
	m.server = httptest.NewServer(mux)
	t.Cleanup(m.server.Close)
	return m
}

func (m *model) complete(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Stream   bool `json:"stream"`
		Messages []struct {
			Role    string          `json:"role"`
			Content json.RawMessage `json:"content"`
		} `json:"messages"`
		Tools []struct {
			Function struct {
				Name string `json:"name"`
			} `json:"function"`
		} `json:"tools"`
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var prompt strings.Builder
	for _, message := range ask.Messages {
		prompt.WriteString(text(message.Content) + "\n")
	}
	m.mu.Lock()
	m.prompts = append(m.prompts, prompt.String())
	m.tools = nil
	for _, tool := range ask.Tools {
		m.tools = append(m.tools, tool.Function.Name)
	}
	answer := m.answer
	m.mu.Unlock()
	if n := len(ask.Messages); answer != "" && n > 0 && ask.Messages[n-1].Role != "tool" && ask.Stream {
		if id := toAnswer.FindStringSubmatch(prompt.String()); id != nil {
			m.call(w, id[1], answer)
			return
		}
	}
	saying := saying
	if answer != "" && strings.Contains(prompt.String(), "What you say to this is sent to that peer") {
		saying = answer
	}
	if !ask.Stream {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id":"mock","object":"chat.completion","created":1,"model":"echo","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, saying)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	const chunk = `data: {"id":"mock","object":"chat.completion.chunk","created":1,"model":"echo","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	fmt.Fprintf(w, chunk, fmt.Sprintf(`{"role":"assistant","content":%q}`, saying), "null")
	fmt.Fprintf(w, chunk, "{}", `"stop"`)
	io.WriteString(w, "data: [DONE]\n\n")
}

// toAnswer is how a notice names the tool that answers it.
var toAnswer = regexp.MustCompile(`To answer: the tool reply with the id (\w+)\.`)

// call calls the tool that a notice names, as a model does that follows it.
func (m *model) call(w http.ResponseWriter, id, answer string) {
	arguments, _ := json.Marshal(map[string]string{"id": id, "text": answer})
	w.Header().Set("Content-Type", "text/event-stream")
	const chunk = `data: {"id":"mock","object":"chat.completion.chunk","created":1,"model":"echo","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	fmt.Fprintf(w, chunk, fmt.Sprintf(`{"role":"assistant","tool_calls":[{"index":0,"id":"call-%s","type":"function","function":{"name":"ogp__reply","arguments":%q}}]}`, id, arguments), "null")
	fmt.Fprintf(w, chunk, "{}", `"tool_calls"`)
	io.WriteString(w, "data: [DONE]\n\n")
}

// text is a message's content: one string, or parts of which some are text.
func text(content json.RawMessage) string {
	var whole string
	if json.Unmarshal(content, &whole) == nil {
		return whole
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if json.Unmarshal(content, &parts) != nil {
		return string(content)
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// saw counts how often the prompts contain a text, all together.
func (m *model) saw(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, p := range m.prompts {
		n += strings.Count(p, what)
	}
	return n
}

// prompt is the first prompt that contains a text, from a little before it.
func (m *model) prompt(what string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.prompts {
		if i := strings.Index(p, what); i >= 0 {
			return p[max(0, i-900):min(len(p), i+400)]
		}
	}
	return ""
}

// asked is how many completions there were.
func (m *model) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.prompts)
}

// turns is how many completions had a text in their prompt.
func (m *model) turns(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, p := range m.prompts {
		if strings.Contains(p, what) {
			n++
		}
	}
	return n
}
