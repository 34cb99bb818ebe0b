package lifeguardsqlx_test

import (
	"fmt"
	"log"

	"github.com/jmoiron/sqlx"

	_ "github.com/lifeguard-go/lifeguard/lifeguardsqlx"
)

func Example() {
	db, err := sqlx.Open("lifeguard", "postgres://app@localhost/shop?pool_max_conns=20")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	query, args, err := db.BindNamed("select * from pets where name = :name and legs > :legs", map[string]any{"name": "Rex", "legs": 3})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(query, args)
	// Output: select * from pets where name = $1 and legs > $2 [Rex 3]
}
