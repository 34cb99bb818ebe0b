//go:build linux

package main

import (
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// shape is a table and the rows for it. What loads them is written once for all shapes, so
// rows are taken apart through columns; nobody needs reflection for that but GORM and Bun.
type shape[T any] struct {
	name    string
	columns []column[T]
	rows    []T
}

type column[T any] struct {
	name, typ string
	value     func(*T) any
	values    func([]T) any // of the column's type: what unnest takes
}

func col[T, V any](name, typ string, get func(*T) V) column[T] {
	return column[T]{
		name, typ,
		func(r *T) any { return get(r) },
		func(rows []T) any {
			values := make([]V, len(rows))
			for i := range rows {
				values[i] = get(&rows[i])
			}
			return values
		},
	}
}

func (s *shape[T]) names() []string {
	var names []string
	for _, c := range s.columns {
		names = append(names, c.name)
	}
	return names
}

func (s *shape[T]) create() string {
	var columns []string
	for _, c := range s.columns {
		columns = append(columns, c.name+" "+c.typ)
	}
	return "create table event (" + strings.Join(columns, ", ") + ")"
}

// event is the row of the issue: (bigint, text of 20, numeric, timestamptz).
type event struct {
	ID    int64          `bun:"id"    gorm:"column:id;primaryKey;autoIncrement:false"`
	Name  string         `bun:"name"  gorm:"column:name"`
	Price pgtype.Numeric `bun:"price" gorm:"column:price"`
	At    time.Time      `bun:"at"    gorm:"column:at"`
}

// TableName is for GORM; Bun is told in the query.
func (event) TableName() string { return "event" }

var firstDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func cents(i int) pgtype.Numeric {
	return pgtype.Numeric{Int: big.NewInt(int64(i)*37 + 1), Exp: -2, Valid: true}
}

func eventAt(i int) event {
	return event{int64(i + 1), fmt.Sprintf("event number %07d", i), cents(i), firstDay.Add(time.Duration(i) * time.Second)}
}

func narrow(n int) *shape[event] {
	s := &shape[event]{name: "4 columns", columns: []column[event]{
		col("id", "bigint", func(r *event) int64 { return r.ID }),
		col("name", "text", func(r *event) string { return r.Name }),
		col("price", "numeric", func(r *event) pgtype.Numeric { return r.Price }),
		col("at", "timestamptz", func(r *event) time.Time { return r.At }),
	}}
	for i := range n {
		s.rows = append(s.rows, eventAt(i))
	}
	return s
}

// wideEvent has 20 columns.
type wideEvent struct {
	ID     int64          `bun:"id"     gorm:"column:id;primaryKey;autoIncrement:false"`
	Owner  int64          `bun:"owner"  gorm:"column:owner"`
	Parent int64          `bun:"parent" gorm:"column:parent"`
	Seq    int64          `bun:"seq"    gorm:"column:seq"`
	Kind   int32          `bun:"kind"   gorm:"column:kind"`
	State  int32          `bun:"state"  gorm:"column:state"`
	Shard  int32          `bun:"shard"  gorm:"column:shard"`
	Name   string         `bun:"name"   gorm:"column:name"`
	Title  string         `bun:"title"  gorm:"column:title"`
	City   string         `bun:"city"   gorm:"column:city"`
	Email  string         `bun:"email"  gorm:"column:email"`
	Note   string         `bun:"note"   gorm:"column:note"`
	Price  pgtype.Numeric `bun:"price"  gorm:"column:price"`
	Tax    pgtype.Numeric `bun:"tax"    gorm:"column:tax"`
	Lat    float64        `bun:"lat"    gorm:"column:lat"`
	Lon    float64        `bun:"lon"    gorm:"column:lon"`
	Paid   bool           `bun:"paid"   gorm:"column:paid"`
	Sent   bool           `bun:"sent"   gorm:"column:sent"`
	At     time.Time      `bun:"at"     gorm:"column:at"`
	Until  time.Time      `bun:"until"  gorm:"column:until"`
}

// TableName is for GORM.
func (wideEvent) TableName() string { return "event" }

func wideAt(i int) wideEvent {
	at := firstDay.Add(time.Duration(i) * time.Second)
	return wideEvent{
		int64(i + 1), int64(i % 1000), int64(i / 2), int64(i) * 7, int32(i % 9), int32(i % 4), int32(i % 16),
		fmt.Sprintf("event number %07d", i), "a title of some words", "Springfield", fmt.Sprintf("user%d@example.com", i%5000), "nothing of note",
		cents(i), cents(i / 5), float64(i%180) + 0.25, float64(i%90) + 0.75, i%2 == 0, i%3 == 0, at, at.Add(time.Hour),
	}
}

func wide(n int) *shape[wideEvent] {
	s := &shape[wideEvent]{name: "20 columns", columns: []column[wideEvent]{
		col("id", "bigint", func(r *wideEvent) int64 { return r.ID }),
		col("owner", "bigint", func(r *wideEvent) int64 { return r.Owner }),
		col("parent", "bigint", func(r *wideEvent) int64 { return r.Parent }),
		col("seq", "bigint", func(r *wideEvent) int64 { return r.Seq }),
		col("kind", "int", func(r *wideEvent) int32 { return r.Kind }),
		col("state", "int", func(r *wideEvent) int32 { return r.State }),
		col("shard", "int", func(r *wideEvent) int32 { return r.Shard }),
		col("name", "text", func(r *wideEvent) string { return r.Name }),
		col("title", "text", func(r *wideEvent) string { return r.Title }),
		col("city", "text", func(r *wideEvent) string { return r.City }),
		col("email", "text", func(r *wideEvent) string { return r.Email }),
		col("note", "text", func(r *wideEvent) string { return r.Note }),
		col("price", "numeric", func(r *wideEvent) pgtype.Numeric { return r.Price }),
		col("tax", "numeric", func(r *wideEvent) pgtype.Numeric { return r.Tax }),
		col("lat", "float8", func(r *wideEvent) float64 { return r.Lat }),
		col("lon", "float8", func(r *wideEvent) float64 { return r.Lon }),
		col("paid", "bool", func(r *wideEvent) bool { return r.Paid }),
		col("sent", "bool", func(r *wideEvent) bool { return r.Sent }),
		col("at", "timestamptz", func(r *wideEvent) time.Time { return r.At }),
		col("until", "timestamptz", func(r *wideEvent) time.Time { return r.Until }),
	}}
	for i := range n {
		s.rows = append(s.rows, wideAt(i))
	}
	return s
}
