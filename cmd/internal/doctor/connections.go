package doctor

import (
	"cmp"
	"context"
	"fmt"

	"github.com/lifeguard-go/lifeguard"
)

// census is who is connected.
type census struct {
	instances     int    // of the application
	how           string // they were counted
	ours, others  int    // sessions
	database      int    // connections that the database allows; -1: any number
	roomForEach   int    // connections for each instance, if all are to fit
	room, reserve int    // what the server gives this role, and what it keeps back
}

func lookAtConnections(ctx context.Context, e *exam) error {
	most, known := e.number("max_connections")
	if !known {
		e.add("connections", Note, "the server does not tell max_connections", "Whether there is room for all instances is not known.", "")
		return nil
	}
	c := census{database: -1}
	if err := e.count(ctx, &c); err != nil {
		return err
	}
	if !e.role.super {
		reserved, _ := e.number("superuser_reserved_connections")
		more, _ := e.number("reserved_connections") // since 16
		c.reserve = reserved + more
	}
	c.room = most - c.reserve
	e.budget(c)
	if e.Instances == 0 && c.instances > 1 && e.cfg.Cache == lifeguard.CacheLocal {
		e.add(
			"cache", Warn, fmt.Sprintf("lifeguard_cache=local, and sessions come from %d instances", c.instances),
			"An instance does not notice what another one writes.", "lifeguard_cache=cdc or off, unless one of them alone writes and reads",
		)
	}
	return nil
}

// clients are the sessions that max_connections counts: no launcher, which has a user too, and no
// walsender. What the others are a role without rights does not see.
const clients = "datid is not null and coalesce(backend_type, 'client backend') = 'client backend'"

func (e *exam) count(ctx context.Context, c *census) error {
	if err := e.conn.QueryRow(ctx, "select datconnlimit from pg_database where datname = current_database()").Scan(&c.database); err != nil {
		return err
	}
	name := e.cfg.ConnConfig.RuntimeParams["application_name"]
	// Without the rights of pg_monitor a role does not see the addresses of others' sessions,
	// but of its own role's; and their names of all.
	query := `select count(distinct coalesce(client_addr::text, 'socket')) filter (where ours), count(*) filter (where ours), count(*) filter (where not ours)
		from (select client_addr, usename = current_user and datname = current_database() and application_name = $1 as ours
			from pg_stat_activity where ` + clients + ` and application_name <> 'lifeguard-doctor') s`
	c.how = "counted by the addresses of the sessions that this role has here; -instances says it better"
	if e.cfg.FleetBudget > 0 {
		name = cmp.Or(name, "lifeguard") + "/"
		query = `select count(distinct application_name) filter (where ours), count(*) filter (where ours), count(*) filter (where not ours)
			from (select application_name, left(application_name, length($1)) = $1 and substr(application_name, length($1) + 1) ~ '^[0-9a-f]{12}$' as ours
				from pg_stat_activity where ` + clients + ` and application_name <> 'lifeguard-doctor') s`
		c.how = "counted by application_name"
	}
	if err := e.conn.QueryRow(ctx, query, name).Scan(&c.instances, &c.ours, &c.others); err != nil {
		if e.Instances == 0 {
			return err
		}
		c.others = 0
	}
	if c.instances == 0 {
		c.instances, c.how = 1, "none is connected, so one is assumed; -instances says it better"
	}
	if e.Instances > 0 {
		c.instances, c.how = e.Instances, "given by -instances"
	}
	return nil
}

// budget compares what the instances may take with what the server has.
func (e *exam) budget(c census) {
	each := e.cfg.MaxConns
	need, sum := c.instances*each, fmt.Sprintf("%s (%s) × pool_max_conns %d = %d", plural(c.instances, "instance"), c.how, each, c.instances*each)
	if budget := e.cfg.FleetBudget; budget > 0 {
		need = min(need, max(budget, c.instances))
		sum = fmt.Sprintf("%s (%s) with lifeguard_fleet_budget %d need %d", plural(c.instances, "instance"), c.how, budget, need)
	}
	room, limiter := c.room, fmt.Sprintf("max_connections, less %d reserved", c.reserve)
	if e.role.limit >= 0 && e.role.limit < room {
		room, limiter = e.role.limit, "the role's connection limit"
	}
	if c.database >= 0 && c.database < room {
		room, limiter = c.database, "the database's connection limit"
	}
	why := "An instance that gets no connection fails with 53300 while others have some to spare."
	switch c.roomForEach = max(1, (room-c.others)/c.instances); {
	case need > room:
		e.add("connections", Error, fmt.Sprintf("%s, and there is room for %d (%s)", sum, room, limiter), why, e.smaller(c, room))
	case need > room-c.others:
		e.add("connections", Warn, fmt.Sprintf("%s, there is room for %d (%s), and others have %d now", sum, room, limiter, c.others), why, e.smaller(c, room-c.others))
	default:
		e.ok("connections", fmt.Sprintf("%s, there is room for %d, and others have %d", sum, room, c.others))
	}
}

func (e *exam) smaller(c census, room int) string {
	return fmt.Sprintf(
		"pool_max_conns=%d, or lifeguard_fleet_budget=%d, or: alter system set max_connections = %d; -- and a restart",
		c.roomForEach, max(1, room), c.others+c.reserve+c.instances*e.cfg.MaxConns+10,
	)
}
