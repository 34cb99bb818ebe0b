package lifeguard_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// cable leads to a Redis, and can be cut, or lead to another one.
type cable struct {
	listener net.Listener

	mu    sync.Mutex // guards what follows
	to    string     // host:port
	state cableState
	ends  map[net.Conn]struct{}
}

type cableState uint8

const (
	whole   cableState = iota
	severed            // connections end, and none is made
	mute               // connections stay, and nothing comes through
)

// newCable returns a cable and the URL by which Redis is reached through it.
func newCable(t testing.TB, redis string) (c *cable, through string) {
	t.Helper()
	u, err := url.Parse(redis)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c = &cable{listener: listener, to: u.Host, ends: make(map[net.Conn]struct{})}
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
	u.Host = listener.Addr().String()
	return c, u.String()
}

// set cuts the cable, or mends it.
func (c *cable) set(s cableState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = s
	if s == severed {
		c.hangUpLocked()
	}
}

// lead has the cable lead to another Redis from now on.
func (c *cable) lead(t testing.TB, redis string) {
	t.Helper()
	u, err := url.Parse(redis)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = u.Host
	c.hangUpLocked()
}

func (c *cable) hangUpLocked() {
	for end := range c.ends {
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
	c.mu.Lock()
	to, state := c.to, c.state
	c.mu.Unlock()
	if state == severed {
		return
	}
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	c.mu.Lock()
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
		if c.now() == mute {
			continue // it is lost
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
