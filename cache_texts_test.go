package lifeguard

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lifeguard-go/lifeguard/internal/sqltext"
)

// Texts with literals in them come once each; those that are asked for must survive them,
// and the memory must have a bound.
func TestTextsThatComeOnceLeaveAndThoseInUseStay(t *testing.T) {
	t.Parallel()
	table := newTextTable(&topQueries{})
	add := func(query string) *cachedText {
		if known := table.find(query); known != nil {
			return known
		}
		return table.add(&cachedText{text: query, statement: &sqltext.Statement{Normalized: query}})
	}
	hot := add("select 1")
	hot.rulings.Store(&[]*ruling{{}})
	filler := strings.Repeat("x", 1000)
	for i := range 20_000 { // 50 MB
		add(fmt.Sprint("select ", i, filler))
		if i%500 == 0 && table.find("select 1") != hot {
			t.Fatalf("after %d texts the one in use was forgotten", i)
		}
		if n := table.bytes(); n > 2*maxTextsBytes {
			t.Fatalf("%d bytes of texts", n)
		}
	}
	if table.find(fmt.Sprint("select 1", filler)) != nil {
		t.Error("one that came once is still known")
	}
}
