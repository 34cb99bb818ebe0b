package lifeguard

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// BatchConfig says how a [BatchInserter] works. Its zero value is a good default.
type BatchConfig struct {
	// Columns are those that rows of []any have, in this order. For a struct they choose
	// among its columns; empty means all.
	Columns []string

	// MaxRows is how many rows a chunk has at most; default 10,000. With an fsync per
	// commit more gains little, and a chunk that is sent again costs more.
	MaxRows int
	// MaxBytes is how many bytes of rows a chunk has at most, by one row more or less;
	// default 4 MiB.
	MaxBytes int
	// FlushInterval is how long a row waits for its chunk to fill; default 1 s, -1 for
	// as long as it takes.
	FlushInterval time.Duration
	// Workers is how many chunks are sent at once; default 1, which keeps the order.
	// There are never more than the pool has connections.
	Workers int
	// MaxPendingBytes bounds the memory: Add waits while accepted rows take as much.
	// Default 16 MiB. The rows that OnRowError wants kept count with their size.
	MaxPendingBytes int

	// OnConflict says what happens to a row whose key is in the table already. The zero
	// value refuses it, like any row that breaks a constraint.
	OnConflict Conflict

	// MaxRowErrors is how many rows may be refused before the loading stops; default
	// 1,000, -1 for any number. Each costs round trips.
	MaxRowErrors int
	// OnRowError receives each refused row, a T, and why. One call at a time; a slow one
	// holds its worker up. Without it rows are not kept, and Close tells how many were
	// refused.
	OnRowError func(row any, err *RowError)
	// OnFlush is called after each chunk, by its worker; Progress too, with the figures
	// so far. One call at a time.
	OnFlush  func(FlushInfo)
	Progress func(BatchStats)

	// Retry says how failures that pass are waited for.
	Retry BatchRetry
	// Priority is the class in which chunks wait for admission; nil means [Bulk]. For
	// another, new(lifeguard.Normal).
	Priority *Priority
}

// BatchRetry says how often and when a chunk is sent again after a failure that passes. A
// refusal by the admission queue does not count: it is waited out.
type BatchRetry struct {
	Attempts   int           // of one chunk; default 10, -1 for one only
	MinBackoff time.Duration // before the second attempt, doubled for each further one; default 50 ms
	MaxBackoff time.Duration // default 5 s
}

// A ConflictAction says what happens to a row whose key is in the table already.
type ConflictAction uint8

// The actions.
const (
	ConflictRefuse ConflictAction = iota // the row is refused and reported
	ConflictIgnore                       // the row in the table stays as it is
	ConflictUpdate                       // the row in the table takes the new row's columns
)

// A Conflict is PostgreSQL's ON CONFLICT. If rows of one chunk have the same key,
// ConflictIgnore takes the first and ConflictUpdate ends with the last.
type Conflict struct {
	Action ConflictAction
	// Keys are the columns of the unique constraint. ConflictIgnore may do without:
	// then a conflict with any constraint counts.
	Keys []string
	// Update are the columns that ConflictUpdate writes; empty means all but Keys.
	Update []string
}

// withDefaults returns a copy with defaults filled in, or what is wrong.
func (c BatchConfig) withDefaults() (BatchConfig, error) {
	for _, field := range []struct {
		name   string
		value  *int
		preset int
		off    bool // -1 is allowed and means without limit
		most   int
	}{
		{"MaxRows", &c.MaxRows, 10_000, false, 10_000_000},
		{"MaxBytes", &c.MaxBytes, 4 << 20, false, 1 << 30},
		{"Workers", &c.Workers, 1, false, 1000},
		{"MaxPendingBytes", &c.MaxPendingBytes, 16 << 20, false, math.MaxInt},
		{"MaxRowErrors", &c.MaxRowErrors, 1000, true, math.MaxInt},
		{"Retry.Attempts", &c.Retry.Attempts, 10, true, math.MaxInt},
	} {
		switch v := *field.value; {
		case v == 0:
			*field.value = field.preset
		case v < 0 && (v != -1 || !field.off), v > field.most:
			return c, fmt.Errorf("lifeguard: BatchConfig.%s is %d, out of range", field.name, v)
		}
	}
	if c.Retry.Attempts == -1 {
		c.Retry.Attempts = 1
	}
	for _, field := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
		off    bool
	}{
		{"FlushInterval", &c.FlushInterval, time.Second, true},
		{"Retry.MinBackoff", &c.Retry.MinBackoff, 50 * time.Millisecond, false},
		{"Retry.MaxBackoff", &c.Retry.MaxBackoff, 5 * time.Second, false},
	} {
		switch v := *field.value; {
		case v == 0:
			*field.value = field.preset
		case v < 0 && (v != -1 || !field.off):
			return c, fmt.Errorf("lifeguard: BatchConfig.%s is %v, out of range", field.name, v)
		}
	}
	c.Columns = slices.Clone(c.Columns)
	return c, c.OnConflict.check()
}

func (c *Conflict) check() error {
	c.Keys, c.Update = slices.Clone(c.Keys), slices.Clone(c.Update)
	switch c.Action {
	case ConflictRefuse:
		if len(c.Keys)+len(c.Update) > 0 {
			return fmt.Errorf("lifeguard: BatchConfig.OnConflict has columns but no action")
		}
	case ConflictIgnore:
		if len(c.Update) > 0 {
			return fmt.Errorf("lifeguard: BatchConfig.OnConflict ignores, so it cannot update")
		}
	case ConflictUpdate:
		if len(c.Keys) == 0 {
			return fmt.Errorf("lifeguard: BatchConfig.OnConflict needs the key's columns to update")
		}
	default:
		return fmt.Errorf("lifeguard: BatchConfig.OnConflict.Action is %d, out of range", c.Action)
	}
	return nil
}

// clause returns ON CONFLICT … for an INSERT of columns, or nothing.
func (c *Conflict) clause(columns []string) string {
	if c.Action == ConflictRefuse {
		return ""
	}
	var sb strings.Builder
	sb.WriteString(" on conflict")
	if len(c.Keys) > 0 {
		sb.WriteString(" (" + quoteColumns(c.Keys) + ")")
	}
	update := c.Update
	if len(update) == 0 {
		for _, column := range columns {
			if !slices.Contains(c.Keys, column) {
				update = append(update, column)
			}
		}
	}
	if c.Action == ConflictIgnore || len(update) == 0 {
		sb.WriteString(" do nothing")
		return sb.String()
	}
	sb.WriteString(" do update set ")
	for i, column := range update {
		if i > 0 {
			sb.WriteString(", ")
		}
		sb.WriteString(quoteIdentifier(column) + " = excluded." + quoteIdentifier(column))
	}
	return sb.String()
}
