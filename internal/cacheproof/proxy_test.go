package cacheproof

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A proxy stands between the driver and the server, and does to messages what networks do:
//
//	answers are late       the server has done it, and nobody knows yet
//	answers are lost       … and nobody ever will: the client's connection breaks
//	requests are late      the client has given up, and the server has not begun
//
// Each is a chance for one message; zero is never.
type proxy struct {
	listener net.Listener
	server   string
	wg       sync.WaitGroup

	lateAnswer, lostAnswer, lateRequest atomic.Int64 // in a million
	lost, late                          atomic.Int64 // that happened

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newProxy(t testing.TB, server string) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, server: server, open: make(map[net.Conn]struct{})}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// dial has pgx's connections go through the proxy.
func (p *proxy) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", p.listener.Addr().String())
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.open[client], p.open[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		link := &link{p: p, client: client, server: server}
		p.wg.Go(link.requests)
		p.wg.Go(link.answers)
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	for conn := range p.open {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) forget(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	delete(p.open, conn)
	p.mu.Unlock()
}

// link is one connection.
type link struct {
	p              *proxy
	client, server net.Conn
	begun          atomic.Bool // the session's start is over, and messages may suffer
	lose           atomic.Bool // the next answer
}

func chance(of *atomic.Int64, times int64) bool { return rand.Int64N(1_000_000) < times*of.Load() }

// weight is how much more likely a request suffers than another.
func weight(request []byte) int64 {
	if bytes.Contains(bytes.ToLower(request), []byte("commit")) {
		return 10
	}
	return 1
}

func (l *link) requests() {
	defer l.p.forget(l.server)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buf)
		if n > 0 {
			if l.begun.Load() {
				times := weight(buf[:n])
				switch {
				case chance(&l.p.lateRequest, times):
					l.p.late.Add(1)
					sleep(20 * time.Millisecond) // also when the client is gone
				case chance(&l.p.lostAnswer, times):
					l.lose.Store(true)
				}
			}
			if _, err := l.server.Write(buf[:n]); err != nil {
				_ = l.client.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) answers() {
	defer l.p.forget(l.client)
	buf := make([]byte, 64<<10)
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			return
		}
		if l.lose.Load() {
			l.p.lost.Add(1)
			_ = l.client.Close()
			_, _ = io.Copy(io.Discard, l.server) // until requests closes it
			return
		}
		if l.begun.Load() && chance(&l.p.lateAnswer, 1) {
			sleep(4 * time.Millisecond)
		}
		if _, err := l.client.Write(buf[:n]); err != nil {
			return
		}
		if bytes.HasSuffix(buf[:n], []byte("Z\x00\x00\x00\x05I")) {
			l.begun.Store(true)
		}
	}
}

// sleep stands for a network: for a random time, most at the most.
func sleep(most time.Duration) {
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	<-timer.C
}
