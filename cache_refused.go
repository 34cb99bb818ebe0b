package lifeguard

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// unanswered is what the server does not tell this Connector's role, or does not know, though
// nothing can be kept without it. It is remembered, or each statement would ask in vain.
type unanswered struct {
	culprit string // what may not be read; empty if the server does not say
	until   time.Duration
}

// refusedFor is how long a refusal is remembered: a GRANT is noticed after that.
const refusedFor = time.Minute

// refused returns the refusal that still holds, or nil.
func (q *queryCache) refused() *unanswered {
	r := q.unanswered.Load()
	if r == nil || q.core.limiter.now() > r.until {
		return nil
	}
	return r
}

// refuse remembers err if it is a refusal, and says in the log, once, what is missing. It
// reports false if err is of the connection, the context, or the moment.
func (q *queryCache) refuse(ctx context.Context, ph *physical, err error) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || ph.dead() || ctx.Err() != nil || !isRefusal(pgErr.Code) {
		return false
	}
	r := &unanswered{until: q.core.limiter.now() + refusedFor}
	if pgErr.Code == insufficientPrivilege {
		r.culprit = lastWord(pgErr.Message)
	}
	if q.unanswered.Swap(r) == nil {
		q.core.cfg.Logger.Warn("lifeguard: the server refuses what the cache has to ask, so nothing is cached; it is asked again every minute",
			"pool", q.core.cfg.Name, "refused", r.culprit, "sqlstate", pgErr.Code)
	}
	return true
}

// isRefusal reports whether the server will say the same of the same question: the role may
// not ask, or the server does not have what is asked for.
func isRefusal(sqlState string) bool {
	return strings.HasPrefix(sqlState, "42") || strings.HasPrefix(sqlState, "0A")
}

// lastWord is what a "permission denied for view pg_stat_activity" is about, in any language
// that PostgreSQL speaks.
func lastWord(message string) string {
	return strings.Trim(message[strings.LastIndexByte(message, ' ')+1:], `"'.,:;»«„“`)
}
