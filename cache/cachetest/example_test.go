package cachetest_test

import (
	"fmt"
	"testing"

	"github.com/lifeguard-go/lifeguard/cache"
	"github.com/lifeguard-go/lifeguard/cache/cachetest"
)

// The test of a store has one line.
func ExampleRun() {
	testMyStore := func(t *testing.T) { //nolint:thelper // a test
		cachetest.Run(t, func(t *testing.T) cache.Store {
			t.Helper()
			store, err := cache.NewMemory(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			return store
		})
	}
	fmt.Printf("%T\n", testMyStore)
	// Output: func(*testing.T)
}
