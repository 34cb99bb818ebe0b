package cacheproof

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// cable leads to Redis, and does what networks do.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards what follows
	state cableState
	ends  map[net.Conn]struct{}
}

type cableState uint8

const (
	intact  cableState = iota
	severed            // connections end, and none is made
	mute               // connections stay, and nothing comes through
	slow               // it takes up to 20 ms
)

func newCable(t *testing.T, to string) *cable {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, to: to, ends: make(map[net.Conn]struct{})}
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
		c.set(severed)
		all.Wait()
	})
	return c
}

// set cuts the cable, or mends it. What has lost something while it was mute does not go on:
// no network loses a piece out of the middle.
func (c *cable) set(state cableState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == severed || c.state == mute && state != mute {
		c.hangUpLocked()
	}
	c.state = state
}

// reset ends all connections without a word.
func (c *cable) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUpLocked()
}

func (c *cable) hangUpLocked() {
	for end := range c.ends {
		if tcp, ok := end.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = end.Close()
	}
}

func (c *cable) now() cableState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

func (c *cable) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
	if c.state == severed {
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

func (c *cable) pump(to io.WriteCloser, from io.ReadCloser) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		switch c.now() {
		case mute:
			continue
		case slow:
			sleep(20 * time.Millisecond)
		case intact, severed:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
