package sqltext

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	shortText  = `SELECT id, name, price FROM orders WHERE customer_id = $1 AND status = 'open' ORDER BY id LIMIT 10`
	mediumText = `WITH recent AS (
  SELECT o.id, o.customer_id, sum(l.quantity * l.price) AS total
  FROM orders o JOIN order_lines l ON l.order_id = o.id -- the lines
  WHERE o.created_at > now() - interval '30 days' AND o.status IN ('paid', 'shipped', 'done')
  GROUP BY o.id, o.customer_id
)
SELECT c.id, c.name, coalesce(c.data->>'country', 'DE') AS country, r.total,
       rank() OVER (PARTITION BY c.data->>'country' ORDER BY r.total DESC) AS place
FROM customers c LEFT JOIN recent r ON r.customer_id = c.id
WHERE c.deleted_at IS NULL AND c.id = ANY($1::bigint[]) AND r.total >= 100.50
ORDER BY place, c.name LIMIT 50 OFFSET 0`
)

func batchText(rows int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO events (id, name, at, payload) VALUES ")
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `(%d, 'event %d', now(), '{"n": %d}')`, i, i, i)
	}
	return b.String()
}

func BenchmarkAnalyze(b *testing.B) {
	for _, bb := range []struct{ name, sql string }{
		{"short", shortText},
		{"medium", mediumText},
		{"batch-1000-rows", batchText(1000)},
		{"dollar-quoted-64KiB", "DO $$" + strings.Repeat("BEGIN RAISE NOTICE 'x'; END;\n", 2300) + "$$"},
		{"commit", "COMMIT"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.sql)))
			b.ReportAllocs()
			for b.Loop() {
				Analyze(bb.sql)
			}
		})
	}
}

func BenchmarkLexer(b *testing.B) {
	b.SetBytes(int64(len(mediumText)))
	b.ReportAllocs()
	for b.Loop() {
		lex := NewLexer(mediumText)
		for lex.Next().Kind != EOF {
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	for _, bb := range []struct{ name, sql string }{{"short", shortText}, {"medium", mediumText}} {
		c := NewCache(CacheConfig{})
		// A copy, as a text that was built at run time has another address.
		sql := strings.Clone(bb.sql)
		c.Analyze(bb.sql)
		b.Run(bb.name+"/serial", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Analyze(sql)
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c.Analyze(sql)
				}
			})
		})
	}
}

// BenchmarkCacheHostile asks for a new text each time, as a program does that
// writes its literals into the text.
func BenchmarkCacheHostile(b *testing.B) {
	c := NewCache(CacheConfig{})
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			c.Analyze(fmt.Sprintf("SELECT id, name FROM orders WHERE id = %d", n.Add(1)))
		}
	})
}
