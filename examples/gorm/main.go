// Command gorm is GORM on Lifeguard: opened like postgres.Open, with labels for its models.
package main

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/examples/internal/demo"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
)

// Owner has Pets.
type Owner struct {
	ID   uint
	Name string `gorm:"uniqueIndex"`
	Pets []Pet
}

// Pet belongs to an Owner.
type Pet struct {
	ID      uint
	OwnerID uint
	Name    string
}

func main() { demo.Main(run) }

func run(ctx context.Context, dsn string) error {
	db, err := gorm.Open(lifeguardgorm.Open(dsn), &gorm.Config{TranslateError: true, Logger: logger.Discard})
	if err != nil {
		return err
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := db.Use(lifeguardgorm.Labels{Comment: true}); err != nil {
		return err
	}

	db = db.WithContext(ctx)
	if err := db.AutoMigrate(&Owner{}, &Pet{}); err != nil {
		return err
	}
	if err := db.Create(&Owner{Name: "Ann", Pets: []Pet{{Name: "Rex"}, {Name: "Polly"}}}).Error; err != nil {
		return err
	}
	err = db.Create(&Owner{Name: "Ann"}).Error
	fmt.Println("a second Ann is a duplicate:", errors.Is(err, gorm.ErrDuplicatedKey))

	var owners []Owner
	if err := db.Preload("Pets").Find(&owners).Error; err != nil {
		return err
	}
	for _, owner := range owners {
		fmt.Println(owner.Name, "has", len(owner.Pets), "pets")
	}

	text := db.Session(&gorm.Session{DryRun: true}).Find(&[]Pet{}).Statement.SQL.String()
	fmt.Println("the server sees", text)
	connector, err := lifeguard.FromDB(pool)
	if err != nil {
		return err
	}
	for _, q := range connector.TopQueries(0) {
		if q.Summary == "SELECT pets" {
			fmt.Printf("%s was called %d time and gave %d rows\n", q.Summary, q.Calls, q.Rows)
		}
	}
	return nil
}
