// Package sink takes alerts as Slack and webhooks do, and shows them. It stands in for
// both in the stack, where there is no Slack, and in tests.
package sink

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// kept is how many messages are remembered, maxBody how long one may be.
const (
	kept    = 100
	maxBody = 1 << 20
)

// Message is something that arrived.
type Message struct {
	At   time.Time
	Kind string // slack or webhook
	Body string
}

// Sink is an http.Handler. Its zero value is ready for use.
type Sink struct {
	mu       sync.Mutex // guards messages
	messages []Message
}

// Messages returns what has arrived and is still remembered, oldest first.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// ServeHTTP takes a POST to /slack or /webhook; /healthz and / are for looking.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/slack":
		s.take(w, r, "slack", func(body []byte) error {
			var m struct {
				Text        string `json:"text"`
				Attachments []any  `json:"attachments"`
			}
			if err := json.Unmarshal(body, &m); err != nil {
				return err
			}
			if m.Text == "" && len(m.Attachments) == 0 {
				return fmt.Errorf("no_text") // as Slack says it
			}
			return nil
		})
	case r.Method == http.MethodPost && r.URL.Path == "/webhook":
		s.take(w, r, "webhook", func(body []byte) error {
			var m struct {
				Alerts []any `json:"alerts"`
			}
			if err := json.Unmarshal(body, &m); err != nil {
				return err
			}
			if len(m.Alerts) == 0 {
				return fmt.Errorf("no alerts in it")
			}
			return nil
		})
	case r.URL.Path == "/healthz":
		fmt.Fprintln(w, "ok")
	case r.URL.Path == "/":
		s.show(w)
	default:
		http.NotFound(w, r)
	}
}

func (s *Sink) take(w http.ResponseWriter, r *http.Request, kind string, check func([]byte) error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = check(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.messages = append(s.messages, Message{time.Now(), kind, string(body)})
	if len(s.messages) > kept {
		s.messages = slices.Delete(s.messages, 0, len(s.messages)-kept)
	}
	s.mu.Unlock()
	fmt.Fprint(w, "ok")
}

func (s *Sink) show(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	messages := s.Messages()
	fmt.Fprintf(w, "%d alerts, newest first\n", len(messages))
	for _, m := range slices.Backward(messages) {
		fmt.Fprintf(w, "\n%s %s\n%s\n", m.At.Format(time.RFC3339), m.Kind, m.Body)
	}
}
