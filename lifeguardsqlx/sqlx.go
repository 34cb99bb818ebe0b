// Package lifeguardsqlx makes sqlx know Lifeguard by its name. sqlx chooses placeholders, ? or $1,
// by the name of the driver, and takes one that it does not know for ?. This package is imported
// for its effect, in place of the driver's own:
//
//	import _ "github.com/lifeguard-go/lifeguard/lifeguardsqlx"
//	…
//	db, err := sqlx.Open("lifeguard", dsn)
//
// From then on NamedExec, NamedQuery, PrepareNamed, Rebind and the others write $1, $2, … for this
// driver, in the whole program. Nothing else changes. It exports nothing, and is not needed where
// a *sql.DB is given to sqlx with a name that it knows: sqlx.NewDb(db, "pgx").
package lifeguardsqlx

import (
	"github.com/jmoiron/sqlx"

	"github.com/lifeguard-go/lifeguard"
)

func init() { //nolint:gochecknoinits // being imported is all that this package is for
	sqlx.BindDriver(lifeguard.DriverName, sqlx.DOLLAR)
}
