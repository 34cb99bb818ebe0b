package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/lifeguard-go/lifeguard"
)

// cdc tells whether the settings ask for a cache that follows the server's log.
func (e *exam) cdc() bool { return e.cfg.Cache == lifeguard.CacheCDC }

// needed is the level of what only such a cache needs.
func (e *exam) needed() Level {
	if e.cdc() {
		return Error
	}
	return Note
}

const whyReplication = "lifeguard_cache=cdc, which follows everybody's writes through logical replication, needs it; nothing else does."

func lookAtReplication(ctx context.Context, e *exam) error {
	before := len(e.report.Findings)
	if level, told := e.settings["wal_level"]; told && level.value != "logical" {
		e.add("replication.wal_level", e.needed(), "wal_level is "+level.value, whyReplication, "alter system set wal_level = 'logical'; -- and a restart")
	}
	if !e.role.replication && !e.role.super {
		e.add("replication.role", e.needed(), "role "+e.role.name+" may not replicate", whyReplication, "alter role "+quoteIdent(e.role.name)+" replication;")
	}
	if !e.role.create && !e.cdc() { // else lookAtCDC says whether one is needed
		e.add(
			"replication.publication", Note, "role "+e.role.name+" may not create a publication in this database", whyReplication,
			"grant create on database "+quoteIdent(e.cfg.ConnConfig.Database)+" to "+quoteIdent(e.role.name)+"; -- and it must own the tables",
		)
	}
	if err := e.lookAtRoom(ctx); err != nil {
		return err
	}
	if len(e.report.Findings) == before && len(e.settings) > 0 {
		e.ok("replication", "logical replication is possible")
	}
	return nil
}

// lookAtRoom counts slots and walsenders. Each process needs one of both, or, with
// lifeguard_redis, the first few do; those of processes that run already are not counted
// twice, if it is known how many there are.
func (e *exam) lookAtRoom(ctx context.Context) error {
	for _, place := range []struct{ setting, query, what string }{
		{"max_replication_slots", "select count(*), count(*) filter (where left(slot_name, 10) = 'lifeguard_' and temporary and database = current_database()) from pg_replication_slots", "replication slot"},
		{"max_wal_senders", "select count(*), count(*) filter (where application_name = 'lifeguard cdc') from pg_stat_replication", "walsender"},
	} {
		most, told := e.number(place.setting)
		var used, ours int
		if err := e.conn.QueryRow(ctx, place.query).Scan(&used, &ours); err != nil {
			return err
		}
		need, what := used+1, fmt.Sprintf("no %s is free: %d of %d are taken", place.what, used, most)
		if e.Instances > 0 && e.cdc() {
			need = used - ours + e.slotted()
			what = fmt.Sprintf("%d %ss are not enough: %s need one each, and %d are others'", most, place.what, plural(e.slotted(), "instance"), used-ours)
		}
		if told && need > most {
			e.add("replication."+place.setting, e.needed(), what, whyReplication, fmt.Sprintf("alter system set %s = %d; -- and a restart", place.setting, need+3))
		}
	}
	return nil
}

// slotted is how many of the instances have a slot.
func (e *exam) slotted() int {
	if e.cfg.Redis != "" {
		return min(e.Instances, e.cfg.CDCSlots)
	}
	return e.Instances
}

// shownTables is how many names a finding lists.
const shownTables = 8

// identities finds the tables whose UPDATE and DELETE would fail if they were published, and for
// each the cheapest identity that it could have. A partition has its own, whatever its parent's is.
const identities = `select format('%I.%I', n.nspname, c.relname), case
		when exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid) then 'default'
		else coalesce('using index ' || (select quote_ident(min(x.relname)) from pg_index i join pg_class x on x.oid = i.indexrelid
			where i.indrelid = c.oid and i.indisunique and i.indisvalid and i.indimmediate and i.indpred is null and i.indexprs is null
			and not exists (select from unnest(i.indkey[0:i.indnkeyatts - 1]) k join pg_attribute a on a.attrelid = c.oid and a.attnum = k and not a.attnotnull)), 'full')
		end
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind = 'r' and c.relpersistence = 'p'
	and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
	and not (c.relreplident = 'f'
		or c.relreplident = 'd' and exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary and i.indisvalid)
		or c.relreplident = 'i' and exists (select from pg_index i where i.indrelid = c.oid and i.indisreplident))
	order by 1`

func lookAtIdentities(ctx context.Context, e *exam) error {
	rows, err := e.conn.Query(ctx, identities)
	if err != nil {
		return err
	}
	defer rows.Close()
	var names, statements []string
	var whole string // rows go into the log
	for rows.Next() {
		var name, identity string
		if err := rows.Scan(&name, &identity); err != nil {
			return err
		}
		if identity == "full" {
			whole = " -- FULL has whole rows written to the log; a primary key is better"
		}
		names = append(names, name)
		statements = append(statements, "alter table "+name+" replica identity "+identity+";")
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(names) == 0 {
		e.ok("identity", "every table could be published")
		return nil
	}
	level := Note
	if e.cdc() {
		level = Warn
	}
	e.add(
		"identity", level, fmt.Sprintf("%s without a replica identity: %s", plural(len(names), "table"), shown(names)),
		"In a publication their UPDATE and DELETE would fail, so they cannot be in one, and a cache that follows the server's log cannot keep their rows. Without a primary key, rows cannot be told apart either.",
		strings.Join(statements, " ")+whole,
	)
	return nil
}
