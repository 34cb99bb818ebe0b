package rediscache_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/cache/rediscache"
)

func TestAValueComesBack(t *testing.T) {
	for _, payload := range []string{"", "a", strings.Repeat("pets ", 1000), string(bytes.Repeat([]byte{0, 255, 10}, 300))} {
		b := rediscache.AppendValue(nil, []byte("key"), []byte(payload), 1234)
		got, captured, err := rediscache.ParseValue(b, []byte("key"), 1<<20)
		if err != nil || string(got) != payload || captured != 1234 {
			t.Errorf("%d bytes: %d bytes, captured %d, %v", len(payload), len(got), captured, err)
		}
		if len(payload) > 1024 && len(b) > len(payload)/2 {
			t.Errorf("%d bytes take %d", len(payload), len(b))
		}
	}
}

func TestADamagedValueIsNone(t *testing.T) {
	for _, payload := range []string{"short", strings.Repeat("pets ", 1000)} {
		whole := rediscache.AppendValue(nil, []byte("key"), []byte(payload), 1234)
		for i := range whole {
			for _, flip := range []byte{1, 0x80} {
				b := bytes.Clone(whole)
				b[i] ^= flip
				if got, _, err := rediscache.ParseValue(b, []byte("key"), 1<<20); err == nil {
					t.Fatalf("byte %d was changed, and %q came", i, got)
				}
			}
			if _, _, err := rediscache.ParseValue(whole[:i], []byte("key"), 1<<20); err == nil {
				t.Fatalf("cut off after %d bytes, and taken", i)
			}
		}
	}
}

func TestAValueOfAnotherQuestionIsNone(t *testing.T) {
	b := rediscache.AppendValue(nil, []byte("key"), []byte("value"), 1)
	for _, key := range []string{"", "ke", "kez", "keyv"} {
		if _, _, err := rediscache.ParseValue(b, []byte(key), 100); err == nil {
			t.Errorf("taken for %q", key)
		}
	}
}

func TestAValueIsNotLongerThanAllowed(t *testing.T) {
	for _, n := range []int{100, 1 << 20} {
		b := rediscache.AppendValue(nil, nil, make([]byte, n), 1)
		if _, _, err := rediscache.ParseValue(b, nil, n-1); err == nil {
			t.Errorf("%d bytes where %d are allowed", n, n-1)
		}
		if _, _, err := rediscache.ParseValue(b, nil, n); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzParseValue(f *testing.F) {
	f.Add(rediscache.AppendValue(nil, []byte("key"), []byte("value"), 1))
	f.Add(rediscache.AppendValue(nil, []byte("key"), make([]byte, 2000), 1))
	f.Add(binary.AppendUvarint(make([]byte, 14), 1<<63))
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, _, err := rediscache.ParseValue(b, []byte("key"), 1<<16)
		if err == nil && len(payload) > 1<<16 {
			t.Error("longer than allowed")
		}
	})
}
