package live_test

import (
	"bufio"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"strings"
	"sync"
	"testing"
)

// mailbox is a mail server that takes everything.
type mailbox struct {
	address string

	mu    sync.Mutex // guards mails
	mails []string
}

func openMailbox(t *testing.T) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mailbox{address: listener.Addr().String()}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() {
				defer conn.Close()
				m.serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		sessions.Wait()
	})
	return m
}

// serve speaks as much SMTP (RFC 5321) as a sender needs.
func (m *mailbox) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	say := func(line string) { _, _ = fmt.Fprint(conn, line+"\r\n") }
	say("220 mailbox")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		switch verb {
		case "DATA":
			say("354 go on")
			mail, err := readMail(in)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.mails = append(m.mails, mail)
			m.mu.Unlock()
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 mailbox")
		}
	}
}

func readMail(in *bufio.Reader) (string, error) {
	var text strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == ".\r\n" {
			break
		}
		text.WriteString(strings.TrimPrefix(line, "."))
	}
	plain, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(text.String())))
	if err != nil {
		return text.String(), nil //nolint:nilerr // then it is not encoded like this
	}
	return string(plain), nil
}

func (m *mailbox) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.mails, "\n")
}
