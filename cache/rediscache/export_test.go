package rediscache

import "time"

// OpenBriefly is Open with another Linger.
func OpenBriefly(url string, o Options, linger time.Duration) (*Tier, error) {
	o.Linger = linger
	return Open(url, o)
}

// Keys of a Space, for tests that take them away.
func (s *Space) Keys(key []byte) (state, intents, value string) {
	return s.state(), s.intents(), s.value(key)
}

// What the tests of values need.
var (
	AppendValue = appendValue
	ParseValue  = parseValue
)
