package crud_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/crud"
)

func TestUpdateAndSaveChangeWhatTheyShould(t *testing.T) {
	t.Parallel()
	db, ctx := shop(t), t.Context()
	n, err := crud.Update[pet](ctx, db, crud.Set{"name": "O'Max", "weight": nil, "tags": []string{"a b", `"`}, "extra": map[string]any{"n": 1}, "owner_id": 1},
		crud.Filter{"id": []int64{1, 3}}, crud.Where("born < ?", day(2019)))
	if err != nil || n != 1 {
		t.Fatalf("%d rows, error %v", n, err)
	}
	rex, err := crud.FindByOne[pet](ctx, db, "id", 1)
	if err != nil || rex.Name != "O'Max" || rex.Weight != nil || !slices.Equal(rex.Tags, []string{"a b", `"`}) || rex.Extra["n"] != 1.0 || !rex.Born.Equal(day(2018)) {
		t.Errorf("%+v, error %v", rex, err)
	}
	if n, err := crud.Update[pet](ctx, db, crud.Set{"weight": 1.5}, crud.All()); err != nil || n != 4 {
		t.Errorf("all: %d rows, error %v", n, err)
	}

	rex.Name, rex.Born = "Rex", day(2017)
	if err := crud.Save(ctx, db, &rex, "name"); err != nil {
		t.Fatal(err)
	}
	got, err := crud.FindOne[pet](ctx, db, crud.Key(&rex))
	if err != nil || got.Name != "Rex" || !got.Born.Equal(day(2018)) || *got.Weight != 1.5 {
		t.Errorf("one column: %+v, error %v", got, err)
	}
	if err := crud.Save(ctx, db, &rex); err != nil {
		t.Fatal(err)
	}
	got, err = crud.FindOne[pet](ctx, db, crud.Key(&rex))
	if err != nil || !got.Born.Equal(day(2017)) || got.Weight != nil {
		t.Errorf("all columns: %+v, error %v", got, err)
	}
	if err := crud.Save(ctx, db, &pet{ID: 99, Name: "x"}); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a row that is not there: %v", err)
	}
	if err := crud.Save(ctx, db, &pet{Name: "x"}); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("a row without a key: %v", err)
	}
	if n, err := crud.FindByCount[pet](ctx, db, "name", "x"); err != nil || n != 0 {
		t.Errorf("%d rows, error %v", n, err)
	}
}

func TestDeleteDeletesWhatItShould(t *testing.T) {
	t.Parallel()
	db, ctx := shop(t), t.Context()
	if n, err := crud.Delete[pet](ctx, db, crud.Filter{"owner_id": nil}, crud.Filter{"name": "Tom"}); err != nil || n != 1 {
		t.Errorf("%d rows, error %v", n, err)
	}
}

func TestDeleteByKeyAndSoftly(t *testing.T) {
	t.Parallel()
	db, ctx := shop(t), t.Context()
	if n, err := crud.Delete[pet](ctx, db, crud.Key(&pet{ID: 1})); err != nil || n != 1 {
		t.Errorf("%d rows, error %v", n, err)
	}
	first := visit{PetID: 2, Day: day(2022), Note: "a"}
	if err := crud.Insert(ctx, db, &first, &visit{PetID: 2, Day: day(2023), Note: "b"}); err != nil {
		t.Fatal(err)
	}
	if n, err := crud.Delete[visit](ctx, db, crud.Key(&first)); err != nil || n != 1 { // a key of two columns
		t.Errorf("%d rows, error %v", n, err)
	}
	if n, err := crud.FindByCount[visit](ctx, db, "pet_id", 2); err != nil || n != 1 {
		t.Errorf("%d rows are seen, error %v", n, err)
	}
	if n, err := lifeguard.Query[int](ctx, db, "select count(*) from visits where deleted_at is not null"); err != nil || n[0] != 1 {
		t.Errorf("%v rows are marked, error %v", n, err)
	}
	if n, err := crud.Delete[pet](ctx, db, crud.All()); err != nil || n != 3 {
		t.Errorf("all: %d rows, error %v", n, err)
	}
}

func TestInsertIsOneStatementAndReportsTheServersError(t *testing.T) {
	t.Parallel()
	db, ctx := shop(t), t.Context()
	a, b := &pet{Name: "A", Born: day(2000)}, &pet{Name: "B", Born: day(2000)}
	if err := crud.Insert(ctx, db, a, b); err != nil || a.ID == 0 || b.ID != a.ID+1 || a.RegisteredAt.Year() != 2000 {
		t.Errorf("%d, %d, error %v", a.ID, b.ID, err)
	}
	err := crud.Insert(ctx, db, &pet{Name: "C"}, &pet{Name: "D", Chip: sql.NullString{String: "c1", Valid: true}})
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "23505" {
		t.Errorf("a duplicate key: %v", err)
	}
	if n, err := crud.FindByCount[pet](ctx, db, "name", []string{"C", "D"}); err != nil || n != 0 {
		t.Errorf("%d rows, error %v", n, err)
	}
	if err := crud.Insert[pet](ctx, db); err != nil {
		t.Errorf("no rows: %v", err)
	}
}

func TestAllOfItWorksInTransactionsAndOnConns(t *testing.T) {
	t.Parallel()
	db, ctx := shop(t), t.Context()
	undone := errors.New("undone")
	everything := func(q crud.DB) error {
		p := &pet{Name: "Kim", Born: day(2001)}
		if err := crud.Insert(ctx, q, p); err != nil {
			return err
		}
		p.Name = "Ken"
		err1 := crud.Save(ctx, q, p)
		n, err2 := crud.Update[pet](ctx, q, crud.Set{"weight": 2}, crud.Key(p))
		found, err3 := crud.FindByOne[pet](ctx, q, "name", "Ken")
		exists, err4 := crud.FindByExistsOne[pet](ctx, q, "name", "Ken")
		count, err5 := crud.FindByCount[pet](ctx, q, "name", "Ken")
		for _, err := range crud.FindMany[pet](ctx, q) {
			if err != nil {
				return err
			}
			break // the connection is free again
		}
		deleted, err6 := crud.Delete[owner](ctx, q, crud.Filter{"name": "Nobody"})
		if n != 1 || *found.Weight != 2 || !exists || count != 1 || deleted != 0 {
			t.Errorf("%d, %+v, %t, %d, %d", n, found, exists, count, deleted)
		}
		return errors.Join(err1, err2, err3, err4, err5, err6)
	}
	err := lifeguard.Txn(ctx, db, lifeguard.TxnOptions{}, func(_ context.Context, tx *sql.Tx) error {
		return errors.Join(everything(tx), undone)
	})
	var pgErr *pgconn.PgError
	if !errors.Is(err, undone) || errors.As(err, &pgErr) {
		t.Error(err)
	}
	if exists, err := crud.FindByExists[pet](ctx, db, "name", "Ken"); err != nil || exists {
		t.Errorf("exists %t, error %v", exists, err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := everything(conn); err != nil {
		t.Error(err)
	}
}
