// Package cable is for tests: a way to a server that does what networks do.
package cable

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Cable leads from an address of its own to a server. All methods may be called concurrently.
type Cable struct {
	listener net.Listener

	mu      sync.Mutex // guards what follows; never held while blocking
	changed *sync.Cond // the state
	to      string
	state   State
	ends    map[net.Conn]struct{}
}

// State is what a cable does to what is sent through it.
type State uint8

// The states.
const (
	Intact  State = iota
	Severed       // connections end, and none is made
	Mute          // connections stay, and what is sent is lost
	Held          // connections stay, and what is sent comes when they are not held any more
	Slow          // it takes 20 ms
)

const slowness = 20 * time.Millisecond

// New returns a cable to a server's host:port, which ends with the test.
func New(t testing.TB, to string) *Cable {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Cable{listener: listener, to: to, ends: make(map[net.Conn]struct{})}
	c.changed = sync.NewCond(&c.mu)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		c.Set(Severed)
		all.Wait()
	})
	return c
}

// Addr is the host:port of the near end.
func (c *Cable) Addr() string { return c.listener.Addr().String() }

// Set cuts the cable, or mends it. What has lost something while it was mute does not go on:
// no network loses a piece out of the middle.
func (c *Cable) Set(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == Severed || c.state == Mute && s != Mute {
		c.hangUpLocked()
	}
	c.state = s
	c.changed.Broadcast()
}

// Lead has the cable lead to another host:port from now on, and ends all connections.
func (c *Cable) Lead(to string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = to
	c.hangUpLocked()
}

// Reset ends all connections without a word.
func (c *Cable) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUpLocked()
}

func (c *Cable) hangUpLocked() {
	for end := range c.ends {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = end.Close()
	}
}

func (c *Cable) carry(near net.Conn) {
	defer near.Close()
	c.mu.Lock()
	to := c.to
	c.mu.Unlock()
	far, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), "tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if c.state == Severed || c.to != to {
		c.mu.Unlock()
		return
	}
	c.ends[near], c.ends[far] = struct{}{}, struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.ends, near)
		delete(c.ends, far)
	}()
	var back sync.WaitGroup
	back.Go(func() { c.pump(near, far) })
	c.pump(far, near)
	back.Wait()
}

func (c *Cable) pump(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		switch c.let() {
		case Mute:
			continue
		case Slow:
			<-time.After(slowness)
		case Intact, Severed, Held:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// let waits until nothing is held, and returns the state.
func (c *Cable) let() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.state == Held {
		c.changed.Wait()
	}
	return c.state
}
