package sink

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSinkTakesWhatSlackAndWebhooksTake(t *testing.T) {
	t.Parallel()
	var s Sink
	server := httptest.NewServer(&s)
	defer server.Close()
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/slack", `{"text": "down"}`, http.StatusOK},
		{"/slack", `{"channel": "#alerts", "attachments": [{"title": "down"}]}`, http.StatusOK},
		{"/slack", `{"channel": "#alerts"}`, http.StatusBadRequest},
		{"/slack", `down`, http.StatusBadRequest},
		{"/webhook", `{"alerts": [{"status": "firing"}]}`, http.StatusOK},
		{"/webhook", `{"alerts": []}`, http.StatusBadRequest},
		{"/elsewhere", `{}`, http.StatusNotFound},
	} {
		response, err := http.Post(server.URL+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s %s: status %d, not %d", c.path, c.body, response.StatusCode, c.status)
		}
	}
	if n := len(s.Messages()); n != 3 {
		t.Errorf("%d messages, not 3", n)
	}
	response, err := http.Get(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "3 alerts, newest first") || !strings.Contains(string(page), "firing") {
		t.Errorf("the page is\n%s", page)
	}
}

func TestSinkForgetsTheOldest(t *testing.T) {
	t.Parallel()
	var s Sink
	for range kept + 5 {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/slack", strings.NewReader(`{"text": "down"}`)))
	}
	if n := len(s.Messages()); n != kept {
		t.Errorf("%d messages are remembered, not %d", n, kept)
	}
}
