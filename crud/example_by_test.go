package crud_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/uptrace/bun"

	"github.com/lifeguard-go/lifeguard/crud"
)

// One column and its value, without a Filter.
func ExampleFindBy() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()
	day := time.Date(2020, 5, 1, 0, 0, 0, 0, time.UTC)
	if err := crud.Insert(ctx, db, &Pet{Name: "Mia", Born: day}, &Pet{Name: "Tom", Born: day}, &Pet{Name: "Rex", Born: day.AddDate(1, 0, 0)}); err != nil {
		log.Fatal(err)
	}

	young, err := crud.FindBy[Pet](ctx, db, "born", day, crud.Order("name"), crud.Offset(1))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(young), young[0].Name)

	for pet, err := range crud.FindByMany[Pet](ctx, db, "born", day, crud.Order("name")) { // one at a time
		fmt.Println(pet.Name, err)
	}

	all, err := crud.FindByCount[Pet](ctx, db, "born", day)
	fmt.Println(all, err)
	atLeastOne, err := crud.FindByExists[Pet](ctx, db, "name", "Rex")
	fmt.Println(atLeastOne, err)
	twoOrMore, err := crud.FindByExistsMany[Pet](ctx, db, "name", "Rex")
	fmt.Println(twoOrMore, err)
	noMoreThan, err := crud.FindByExistsCount[Pet](ctx, db, 1, "born", day)
	fmt.Println(noMoreThan, err)
	// Output:
	// 1 Tom
	// Mia <nil>
	// Tom <nil>
	// 2 <nil>
	// true <nil>
	// false <nil>
	// 1 <nil>
}

// What only Bun can say.
func ExampleBuild() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()
	if err := crud.Insert(ctx, db, &Pet{Name: "Mia"}, &Pet{Name: "Tom"}); err != nil {
		log.Fatal(err)
	}
	pets, err := crud.Find[Pet](ctx, db, crud.Build(func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("length(name) = 3").OrderExpr("name DESC").For("UPDATE SKIP LOCKED")
	}))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pets), pets[0].Name)
	// Output: 2 Tom
}

// Without a condition nothing is changed; All says that every row is meant.
func ExampleAll() {
	db, stop := connect()
	defer stop()
	ctx := context.Background()
	if err := crud.Insert(ctx, db, &Pet{Name: "Mia"}, &Pet{Name: "Tom"}); err != nil {
		log.Fatal(err)
	}
	_, err := crud.Delete[Pet](ctx, db)
	fmt.Println(err != nil)
	n, err := crud.Delete[Pet](ctx, db, crud.All())
	fmt.Println(n, err)
	// Output:
	// true
	// 2 <nil>
}
