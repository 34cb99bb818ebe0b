package lifeguardgorm_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
	"gorm.io/gorm"

	"github.com/lifeguard-go/lifeguard"
	"github.com/lifeguard-go/lifeguard/lifeguardgorm"
	"github.com/lifeguard-go/lifeguard/pgtest"
)

// recorder is a provider that keeps what its spans were started with.
type recorder struct {
	embedded.TracerProvider

	mu    sync.Mutex // guards spans
	spans []string   // name and model
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return recordingTracer{recorder: r}
}

type recordingTracer struct {
	embedded.Tracer

	recorder *recorder
}

func (t recordingTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(opts...)
	model := "-"
	for _, attr := range cfg.Attributes() {
		if attr.Key == lifeguardgorm.ModelKey {
			model = attr.Value.AsString()
		}
	}
	t.recorder.mu.Lock()
	t.recorder.spans = append(t.recorder.spans, name+" "+model)
	t.recorder.mu.Unlock()
	return noop.Tracer{}.Start(ctx, name)
}

// take returns the spans since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.spans
	r.spans = nil
	return taken
}

// labelled opens a database with labels, with tables and without spans of their making.
func labelled(t *testing.T, labels lifeguardgorm.Labels) (*gorm.DB, *recorder) {
	t.Helper()
	spans := &recorder{}
	db := open(t, lifeguardgorm.New(lifeguardgorm.Config{
		DSN:       pgtest.DSN(t),
		Configure: func(cfg *lifeguard.Config) error { cfg.TracerProvider = spans; return nil },
	}))
	if err := db.AutoMigrate(&Owner{}, &Pet{}); err != nil {
		t.Fatal(err)
	}
	if err := db.Use(labels); err != nil {
		t.Fatal(err)
	}
	spans.take()
	return db, spans
}

func TestSpansSayTheModel(t *testing.T) {
	t.Parallel()
	db, spans := labelled(t, lifeguardgorm.Labels{})
	check := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(spans.take(), func(s string) bool { return strings.HasPrefix(s, "PREPARE") })
		if !slices.Equal(got, want) {
			t.Errorf("%s: spans are %q, want %q", what, got, want)
		}
	}
	owner := Owner{Name: "Ann", Pets: []Pet{{Name: "Rex"}}}
	check("Create with an association", db.Create(&owner).Error,
		"BEGIN Owner", "INSERT owners Owner", "INSERT pets Pet", "COMMIT Owner")
	var owners []Owner
	check("Find with Preload", db.Preload("Pets").Find(&owners).Error, "SELECT owners Owner", "SELECT pets Pet")
	check("Update", db.Session(&gorm.Session{SkipDefaultTransaction: true}).Model(&Owner{ID: owner.ID}).Update("name", "Bea").Error, "UPDATE owners Owner")
	check("Delete", db.Session(&gorm.Session{SkipDefaultTransaction: true}).Delete(&Pet{}, 1).Error, "DELETE pets Pet")
	var n int64
	check("Count", db.Model(&Pet{}).Count(&n).Error, "SELECT pets Pet")
	check("Raw with a model", db.Model(&Owner{}).Raw("select count(*) from owners").Scan(&n).Error, "SELECT owners Owner")
	check("Exec without one", db.Exec("delete from pets").Error, "DELETE pets -")
}

func TestAStatementThatIsUsedAgainKeepsItsContextSmall(t *testing.T) {
	t.Parallel()
	db, _ := labelled(t, lifeguardgorm.Labels{})
	var owners []Owner
	tx := db.Model(&Owner{}).Where("true")
	tx.Find(&owners)
	first := tx.Statement.Context
	tx.Find(&owners)
	if tx.Error != nil || tx.Statement.Context != first || lifeguardgorm.Model(first) != "Owner" {
		t.Errorf("the context was %v and is %v, error %v; want the same one, with Owner", first, tx.Statement.Context, tx.Error)
	}
}

// activity is a view of the statement that reads it.
type activity struct{ Query string }

func (activity) TableName() string { return "activity" }

func TestTheServerSeesTheModelInAComment(t *testing.T) {
	t.Parallel()
	db, _ := labelled(t, lifeguardgorm.Labels{Comment: true})
	if err := db.Exec("create view activity as select query from pg_stat_activity where pid = pg_backend_pid()").Error; err != nil {
		t.Fatal(err)
	}
	var seen activity
	if err := db.Take(&seen).Error; err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(seen.Query, "/* model:activity */ SELECT") {
		t.Errorf("the server sees %s", seen.Query)
	}

	dry := db.Session(&gorm.Session{DryRun: true})
	for want, tx := range map[string]*gorm.DB{
		"/* model:Owner */ INSERT": dry.Create(&Owner{Name: "Ann"}),
		"/* model:Owner */ UPDATE": dry.Model(&Owner{ID: 1}).Update("name", "Ann"),
		"/* model:Owner */ DELETE": dry.Delete(&Owner{}, 1),
		"/* model:Pet */ SELECT":   dry.Model(&Pet{}).Where("id = ?", 1).Find(&[]Pet{}),
		"select 1":                 dry.Model(&Pet{}).Raw("select 1").Find(&[]Pet{}),
	} {
		if got := tx.Statement.SQL.String(); !strings.HasPrefix(got, want) || tx.Error != nil {
			t.Errorf("got %s and %v, want %s…", got, tx.Error, want)
		}
	}
}

// generic's name, as GORM has it, holds slashes and brackets.
type generic[T any] struct {
	ID    uint
	Value T `gorm:"-"`
}

func TestACommentEndsWhereItShould(t *testing.T) {
	t.Parallel()
	db, _ := labelled(t, lifeguardgorm.Labels{Comment: true})
	got := db.Session(&gorm.Session{DryRun: true}).Table("pets").Find(&[]generic[*lifeguard.Config]{}).Statement.SQL.String()
	if strings.Count(got, "*/") != 1 || strings.Count(got, "/*") != 1 {
		t.Errorf("got %s", got)
	}
}

func TestACommentDoesNotChangeTheFingerprint(t *testing.T) {
	t.Parallel()
	db, _ := labelled(t, lifeguardgorm.Labels{Comment: true})
	var pets []Pet
	if err := db.Find(&pets).Error; err != nil {
		t.Fatal(err)
	}
	if err := db.Raw(`SELECT * FROM "pets"`).Find(&pets).Error; err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	connector, err := lifeguard.FromDB(pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range connector.TopQueries(0) {
		if q.Query == `select * from "pets"` && q.Calls == 2 {
			return
		}
	}
	t.Errorf("no statement was called twice: %+v", connector.TopQueries(0))
}
