package lifeguard

import (
	"context"
	"math"
	"strconv"
	"sync/atomic"
	"time"
)

// A CacheOption says how fresh a result must be; see [WithCache]. The zero value asks for
// nothing.
type CacheOption int64

// NoCache lets a query go to the server: its result is neither taken from memory nor kept
// there, nor shared with whoever asks the same at the moment.
const NoCache CacheOption = -1

// MaxAge takes a result from memory only if its query was sent less than d ago. An older
// one is read again, and kept for everybody. With d = 0 each query is sent.
func MaxAge(d time.Duration) CacheOption {
	if d < 0 {
		d = 0
	}
	return CacheOption(min(d, math.MaxInt64-1)) + 1
}

type cacheOptionKey struct{}

// optionsInUse is set for good by the first WithCache: until then no query looks for one.
//
//nolint:gochecknoglobals // whether a function was ever called
var optionsInUse atomic.Bool

// WithCache returns a context whose queries use the query cache as the options say. They
// add up, also with those of a context around, and with hints in the text
// (/* lifeguard: nocache */, /* lifeguard: maxage=5s */): the strictest counts. Without a
// cache they change nothing. A write is noticed as ever.
func WithCache(ctx context.Context, options ...CacheOption) context.Context {
	all := cacheOptionOf(ctx)
	for _, o := range options {
		all = all.and(o)
	}
	optionsInUse.Store(true)
	return context.WithValue(ctx, cacheOptionKey{}, all)
}

func cacheOptionOf(ctx context.Context) CacheOption {
	if !optionsInUse.Load() {
		return 0
	}
	o, _ := ctx.Value(cacheOptionKey{}).(CacheOption)
	return o
}

// and is the stricter of two.
func (o CacheOption) and(other CacheOption) CacheOption {
	switch {
	case o == 0:
		return other
	case other == 0:
		return o
	}
	return min(o, other) // NoCache is the least
}

// allows reports whether a result of that age will do.
func (o CacheOption) allows(age time.Duration) bool {
	return o == 0 || age < time.Duration(o-1)
}

// String is as a hint has it.
func (o CacheOption) String() string {
	switch {
	case o == 0:
		return ""
	case o < 0:
		return "nocache"
	}
	return "maxage=" + time.Duration(o-1).String()
}

// flight names the flight that a query may share, by the key of its question. One that was
// sent too long ago is none of them, so time is cut into pieces.
func (o CacheOption) flight(key string, now time.Duration) string {
	if o <= 0 {
		return key
	}
	piece := now
	if d := time.Duration(o - 1); d > 0 {
		piece = now / d
	}
	return key + "\x00" + o.String() + "\x00" + strconv.FormatInt(int64(piece), 10)
}
