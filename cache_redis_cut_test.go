package lifeguard_test

import (
	"net/url"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/cable"
)

// newCable returns a cable and the URL by which Redis is reached through it.
func newCable(t testing.TB, redis string) (c *cable.Cable, through string) {
	t.Helper()
	u, err := url.Parse(redis)
	if err != nil {
		t.Fatal(err)
	}
	c = cable.New(t, u.Host)
	u.Host = c.Addr()
	return c, u.String()
}
