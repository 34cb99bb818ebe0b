package cdc

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// What a transaction changes while its table is not published is not told when it commits,
// though the table is published by then. So neither who has a slot nor who follows may trust
// it before there is a new slot, which waits for that transaction.
func TestATableThatIsPutBackIsNotTrusted(t *testing.T) {
	t.Parallel()
	for name, gap := range map[string]struct{ begins, ends string }{
		"the table":     {"alter publication lifeguard drop table item", ""}, // the stream puts it back
		"what is told":  {"alter publication lifeguard set (publish = 'insert')", "alter publication lifeguard set (publish = 'insert, update, delete, truncate')"},
		"the whole set": {"drop publication lifeguard", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := relayedListeners(t, 1)
			r.exec(InstallSQL)
			both := []*listener{r.listener, r.followers[0]}
			table := r.oid("item")
			for _, l := range both {
				l.confirmed()
			}
			writer := connect(t, r.dsn)
			sql := "begin; " + gap.begins + "; commit; begin; update item set id = id where id = 1"
			if _, err := writer.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
			if gap.ends != "" {
				r.exec(gap.ends)
			}
			eventually(t, "the slot is given up", func() bool {
				for _, l := range both {
					l.wake()
					if l.Stats().SchemaChanges >= 2 && l.Covers([]Relation{table}) && l.serves() {
						t.Fatalf("a %s serves what an open transaction has changed without a word", l.Stats().Role)
					}
				}
				return len(r.Stats().Ends) > 0
			})
			if _, err := writer.Exec(t.Context(), "commit"); err != nil {
				t.Fatal(err)
			}
			for _, l := range both {
				eventually(t, "it is trusted again", func() bool { return l.Covers([]Relation{table}) && l.serves() })
			}
			if got := both[1].bumps("update item set id = id where id = 1", "item"); got != "item " {
				t.Errorf("told of %q", got)
			}
		})
	}
}
