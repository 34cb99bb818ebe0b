package cdc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Reason says why there is no stream. The set is closed.
type Reason string

// The reasons.
const (
	Unreachable   Reason = "unreachable"    // no connection, or it broke
	Forbidden     Reason = "forbidden"      // the role may not replicate, or log in
	WALLevel      Reason = "wal_level"      // not logical
	NoRoom        Reason = "no_room"        // no free slot, walsender or connection
	NoPublication Reason = "no_publication" // and none can be created; or it does not do
	Recovery      Reason = "in_recovery"    // a standby
	Standby       Reason = "standby_name"   // it would be taken for a synchronous one
	Version       Reason = "server_version" // before PostgreSQL 14
	Unsupported   Reason = "unsupported"    // the server lacks a statement, function or view of PostgreSQL
	Proxied       Reason = "proxied"        // a pooler in between, or two servers behind one name
	Behind        Reason = "behind"         // by more than MaxLag
	Silent        Reason = "silent"         // nothing came for long
	SlotLost      Reason = "slot_lost"      // the server has dropped it, or ended the stream
	Protocol      Reason = "protocol"       // something that was not understood
	Republished   Reason = "republished"    // on purpose: the publication has new tables, or was changed
	RelayDown     Reason = "relay_down"     // Redis does not answer
	RelaySilent   Reason = "relay_silent"   // it does, and nobody writes there what he hears of
	RelayGap      Reason = "relay_gap"      // what it holds is damaged, or parts are missing
	RelayMoved    Reason = "relay_moved"    // on purpose: another process relays
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{
		Unreachable, Forbidden, WALLevel, NoRoom, NoPublication, Recovery, Standby, Version,
		Unsupported, Proxied, Behind, Silent, SlotLost, Protocol, Republished,
		RelayDown, RelaySilent, RelayGap, RelayMoved,
	}
}

var (
	errRecovery    = errors.New("cdc: the server is a standby")
	errStandby     = errors.New("cdc: synchronous_standby_names matches the connection that reads the log, which stores nothing; name the standbys there")
	errVersion     = errors.New("cdc: PostgreSQL 14 or later is needed")
	errWALLevel    = errors.New("cdc: wal_level is not logical; set it and restart the server")
	errProxied     = errors.New("cdc: the two connections do not reach one server directly")
	errBehind      = errors.New("cdc: further behind than lifeguard_cdc_max_lag allows; the slot was dropped")
	errSilent      = errors.New("cdc: the server has sent nothing for too long")
	errSlotLost    = errors.New("cdc: the server has ended the stream")
	errRepublished = errors.New("cdc: the publication has new tables, or was changed")
)

func reasonOf(err error) Reason {
	for _, known := range []struct {
		err    error
		reason Reason
	}{
		{errRecovery, Recovery},
		{errStandby, Standby},
		{errVersion, Version},
		{errWALLevel, WALLevel},
		{errProxied, Proxied},
		{errBehind, Behind},
		{errSilent, Silent},
		{errSlotLost, SlotLost},
		{errNoPublication, NoPublication},
		{errUnusable, NoPublication},
		{errRelay, RelayDown},
		{errRelaySilent, RelaySilent},
		{errRelayGap, RelayGap},
	} {
		if errors.Is(err, known.err) {
			return known.reason
		}
	}
	var bad *protocolError
	if errors.As(err, &bad) {
		return Protocol
	}
	var refused *pgconn.PgError
	if !errors.As(err, &refused) {
		return Unreachable
	}
	switch {
	case refused.Code == "53300" || refused.Code == "53400" || refused.Code == "53000":
		return NoRoom // too many connections, or slots
	case refused.Code == "42501" || strings.HasPrefix(refused.Code, "28"):
		return Forbidden
	case refused.Code == "55000" && strings.Contains(refused.Message, "wal_level"):
		return WALLevel
	case refused.Code == "42704":
		return NoPublication // it was dropped under the stream
	case slices.Contains([]string{"0A000", "42601", "42703", "42883", "42P01"}, refused.Code):
		return Unsupported // it only speaks PostgreSQL's protocol
	case refused.Code == "08P01":
		return Proxied // a pooler that knows no replication
	case refused.Code == "55006" || refused.Code == "55000" || refused.Code == "57P01":
		return SlotLost // dropped, or its walsender terminated
	}
	return Unreachable
}

// isRelayed reports whether it is the relay's end, and not the server's.
func isRelayed(err error) bool {
	return errors.Is(err, errRelay) || errors.Is(err, errRelaySilent) || errors.Is(err, errRelayGap)
}

// describe is an error for the log: without anything that the server might quote, such as a
// DSN or a name.
func describe(err error) string {
	var refused *pgconn.PgError
	if errors.As(err, &refused) {
		return "SQLSTATE " + refused.Code
	}
	var cannot *pgconn.ConnectError
	if errors.As(err, &cannot) {
		return "the server cannot be reached"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "time-out"
	}
	var bad *protocolError
	if errors.As(err, &bad) || strings.HasPrefix(err.Error(), "cdc: ") {
		return strings.TrimPrefix(err.Error(), "cdc: ")
	}
	return "the connection broke"
}
