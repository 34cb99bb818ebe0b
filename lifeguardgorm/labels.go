package lifeguardgorm

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// ModelKey is the attribute of a span that names the GORM model of its statement.
const ModelKey = attribute.Key("gorm.model")

// Labels is a GORM plugin that labels statements with the name of the Go type of their
// model. The label travels in the context of the statement, to wherever that goes: GORM's
// hooks and logger, and the provider of spans. A database opened by [Open] or [New] has
// it on its spans, as [ModelKey]; with any other, give lifeguard.Config's TracerProvider
// wrapped by [TracerProvider]. A statement without a model, such as db.Exec in a hook, has
// the label of the one that it runs in, if its context does.
//
// Metrics and TopQueries have no such label: they know a statement by its summary, which
// names the tables, and a map of models would be looked up in the path of every statement.
type Labels struct {
	// Comment also puts the model into the text of the statements that GORM composes, as
	// /* model:Pet */ in front, where pg_stat_activity and the server's log show it. The
	// text stays the same for a model, so prepared statements are found as before, and
	// Lifeguard's fingerprints do not count comments. Statements of db.Raw and db.Exec are
	// left as they are.
	Comment bool
}

var _ gorm.Plugin = Labels{}

// Name implements gorm.Plugin.
func (Labels) Name() string { return "lifeguardgorm:labels" }

// Initialize implements gorm.Plugin.
func (l Labels) Initialize(db *gorm.DB) error {
	const name = "lifeguardgorm:label"
	callback := db.Callback()
	for _, err := range []error{
		callback.Create().Before("*").Register(name, l.labelling("INSERT")),
		callback.Query().Before("*").Register(name, l.labelling("SELECT")),
		callback.Update().Before("*").Register(name, l.labelling("UPDATE")),
		callback.Delete().Before("*").Register(name, l.labelling("DELETE")),
		callback.Row().Before("*").Register(name, l.labelling("SELECT")),
		callback.Raw().Before("*").Register(name, l.labelling("")),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// labelling returns the callback for statements that begin with a clause, or, with none,
// for those whose text is the application's.
func (l Labels) labelling(first string) func(*gorm.DB) {
	return func(db *gorm.DB) {
		st := db.Statement
		if st.Schema == nil {
			return
		}
		model := st.Schema.Name
		if Model(st.Context) != model { // a Statement may be used again, and its context grow
			st.Context = context.WithValue(st.Context, modelKey{}, model)
		}
		if l.Comment && first != "" && st.SQL.Len() == 0 {
			c := st.Clauses[first]
			c.BeforeExpression = comment(model)
			st.Clauses[first] = c
		}
	}
}

// modelKey is the key of the label in a context.
type modelKey struct{}

// Model returns the model that [Labels] found a statement to be about, or "".
func Model(ctx context.Context) string {
	model, _ := ctx.Value(modelKey{}).(string)
	return model
}

// comment is a model's name in an SQL comment. A generic type's name may hold anything
// that an import path may, and nothing in it may end the comment.
type comment string

var _ clause.Expression = comment("")

// Build implements clause.Expression.
func (c comment) Build(b clause.Builder) {
	name := strings.Map(func(r rune) rune {
		if r == '*' || r == '?' || r == '@' || r < ' ' { // ? and @ are GORM's own
			return '_'
		}
		return r
	}, string(c))
	_, _ = b.WriteString("/* model:" + name + " */")
}

// TracerProvider returns tp, whose spans also say what [Labels] has found, in attribute
// [ModelKey]. Statements that are not traced pay nothing for it.
func TracerProvider(tp trace.TracerProvider) trace.TracerProvider {
	return labelledProvider{tp: tp}
}

type labelledProvider struct {
	embedded.TracerProvider

	tp trace.TracerProvider
}

// Tracer implements trace.TracerProvider.
func (p labelledProvider) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return labelledTracer{tracer: p.tp.Tracer(name, opts...)}
}

type labelledTracer struct {
	embedded.Tracer

	tracer trace.Tracer
}

// Start implements trace.Tracer.
func (t labelledTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if model := Model(ctx); model != "" {
		opts = append(opts[:len(opts):len(opts)], trace.WithAttributes(ModelKey.String(model)))
	}
	return t.tracer.Start(ctx, name, opts...)
}
