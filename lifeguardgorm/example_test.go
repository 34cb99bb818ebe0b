package lifeguardgorm_test

import (
	"fmt"
	"log"

	"gorm.io/gorm"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
)

func ExampleOpen() {
	dsn := "postgres://app@localhost/shop?TimeZone=Europe/Berlin&pool_max_conns=20"
	db, err := gorm.Open(lifeguardgorm.Open(dsn), &gorm.Config{
		TranslateError:       true,
		DisableAutomaticPing: true, // this example has no server
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Use(lifeguardgorm.Labels{}); err != nil {
		log.Fatal(err)
	}

	pool, err := db.DB()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	connector, err := lifeguard.FromDB(pool)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(connector.Stats().Limiter.Limit, "statements at once")
	// Output: 20 statements at once
}
