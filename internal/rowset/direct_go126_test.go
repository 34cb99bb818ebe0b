//go:build !go1.27

package rowset_test

// Before Go 1.27 every destination is database/sql's.
const pgxGuesses = false

var directDestinations = []func() any{
	func() any { return new([]int64) },
	func() any { return new(map[string]any) },
}
