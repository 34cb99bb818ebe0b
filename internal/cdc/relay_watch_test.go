package cdc

import (
	"testing"
	"time"
)

// Who takes the place of a leader that reads on too slowly has the time that it had.
func TestWhoHasJustBegunIsNotTakenForOneThatStaysBehind(t *testing.T) {
	t.Parallel()
	var w watch
	leads := &head{epoch: epoch{nonce: "first"}, position: 10}
	const own = 20
	now := time.Duration(0)
	for ; now <= staysBehind; now += time.Second {
		if leads.seq++; w.free(leads, now, own) {
			t.Fatalf("after %v another may lead", now)
		}
	}
	leads = &head{epoch: epoch{nonce: "second"}}
	if w.free(leads, now, own) {
		t.Error("another may lead at once")
	}
	for end := now + staysBehind; now <= end; now += time.Second {
		leads.seq++
		w.free(leads, now, own)
	}
	if leads.seq++; !w.free(leads, now+time.Second, own) {
		t.Error("none may ever lead")
	}
}
