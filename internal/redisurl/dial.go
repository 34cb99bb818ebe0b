package redisurl

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// dial connects. What fails to be dialled is a connection that fails to be used: go-redis
// would write of the one to the standard error, for its logger is the program's, and not a
// client's; of the other it does not. Our caller sees the same error.
func dial(secure *tls.Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout}
	return func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		if secure == nil {
			conn, err = plain.DialContext(ctx, network, address)
		} else {
			conn, err = (&tls.Dialer{NetDialer: plain, Config: secure}).DialContext(ctx, network, address)
		}
		if err != nil {
			return &undialled{address: address, err: err}, nil //nolint:nilerr // as documented
		}
		return conn, nil
	}
}

// undialled is a connection that there is not.
type undialled struct {
	address string
	err     error
}

var _ net.Conn = (*undialled)(nil)

// Read implements net.Conn.
func (u *undialled) Read([]byte) (int, error) { return 0, u.err }

// Write implements net.Conn.
func (u *undialled) Write([]byte) (int, error) { return 0, u.err }

// Close implements net.Conn.
func (u *undialled) Close() error { return nil }

// LocalAddr implements net.Conn.
func (u *undialled) LocalAddr() net.Addr { return u }

// RemoteAddr implements net.Conn.
func (u *undialled) RemoteAddr() net.Addr { return u }

// SetDeadline implements net.Conn.
func (u *undialled) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (u *undialled) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (u *undialled) SetWriteDeadline(time.Time) error { return nil }

// Network implements net.Addr.
func (u *undialled) Network() string { return "tcp" }

// String implements net.Addr.
func (u *undialled) String() string { return u.address }
