package lifeguard_test

import (
	"database/sql/driver"
	"reflect"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lifeguard-go/lifeguard"
)

// What stdlib offers has been decided about method by method. An upgrade of pgx that
// adds one must be decided about too: what database/sql finds on stdlib's types and
// not on Lifeguard's silently changes what a program does.
func TestEveryMethodOfStdlibIsKnownAndOffered(t *testing.T) {
	known := map[reflect.Type][]string{
		reflect.TypeFor[*stdlib.Conn](): {
			"Begin", "BeginTx", "CheckNamedValue", "Close", "Conn", "ExecContext", "Ping", "Prepare", "PrepareContext", "QueryContext", "ResetSession",
		},
		reflect.TypeFor[*stdlib.Stmt](): {"Close", "Exec", "ExecContext", "NumInput", "Query", "QueryContext"},
		reflect.TypeFor[*stdlib.Rows](): append([]string{
			"Close", "ColumnTypeDatabaseTypeName", "ColumnTypeLength", "ColumnTypePrecisionScale", "ColumnTypeScanType", "Columns", "Next",
		}, rowsMethodsOfThisGo...),
		reflect.TypeFor[*stdlib.Driver](): {"Open", "OpenConnector"},
	}
	ours := map[reflect.Type]reflect.Type{
		reflect.TypeFor[*stdlib.Conn]():   reflect.TypeFor[*lifeguard.Conn](),
		reflect.TypeFor[*stdlib.Stmt]():   reflect.TypeFor[*lifeguard.Stmt](),
		reflect.TypeFor[*stdlib.Rows]():   reflect.TypeFor[*lifeguard.Rows](),
		reflect.TypeFor[*stdlib.Driver](): reflect.TypeFor[lifeguard.Driver](),
	}
	for theirs, names := range known {
		for i := range theirs.NumMethod() {
			method := theirs.Method(i)
			if !slices.Contains(names, method.Name) {
				t.Errorf("%v has the new method %s: decide whether Lifeguard offers it too, forward it or say why not, and add it to this list", theirs, method.Name)
			}
			own, ok := ours[theirs].MethodByName(method.Name)
			if !ok {
				t.Errorf("%v lacks %s, which %v has", ours[theirs], method.Name, theirs)
				continue
			}
			if a, b := signature(method.Type), signature(own.Type); a != b {
				t.Errorf("%s is %s on %v and %s on %v", method.Name, a, theirs, b, ours[theirs])
			}
		}
		for _, name := range names {
			if _, ok := theirs.MethodByName(name); !ok {
				t.Errorf("%v has lost its method %s: take it off this list, and see whether Lifeguard still needs it", theirs, name)
			}
		}
	}
}

// signature is a method's type without its receiver.
func signature(method reflect.Type) string {
	in := make([]reflect.Type, 0, method.NumIn())
	for i := 1; i < method.NumIn(); i++ {
		in = append(in, method.In(i))
	}
	out := make([]reflect.Type, 0, method.NumOut())
	for i := range method.NumOut() {
		out = append(out, method.Out(i))
	}
	return reflect.FuncOf(in, out, method.IsVariadic()).String()
}

// database/sql asks values for these interfaces; an answer other than stdlib's would
// change its behaviour, also where Lifeguard offers more.
func TestRowsAndStatementsAnswerDatabaseSQLAsStdlibsDo(t *testing.T) {
	optional := []reflect.Type{
		reflect.TypeFor[driver.RowsNextResultSet](), reflect.TypeFor[driver.RowsColumnTypeNullable](), reflect.TypeFor[driver.RowsColumnTypeLength](),
		reflect.TypeFor[driver.RowsColumnTypePrecisionScale](), reflect.TypeFor[driver.RowsColumnTypeScanType](), reflect.TypeFor[driver.RowsColumnTypeDatabaseTypeName](),
		//lint:ignore SA1019 that stdlib has none of it is part of what is pinned
		reflect.TypeFor[driver.NamedValueChecker](), reflect.TypeFor[driver.ColumnConverter](), reflect.TypeFor[driver.StmtExecContext](), reflect.TypeFor[driver.StmtQueryContext](), //nolint:staticcheck // as above
	}
	for theirs, own := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[*stdlib.Stmt](): reflect.TypeFor[*lifeguard.Stmt](),
		reflect.TypeFor[*stdlib.Rows](): reflect.TypeFor[*lifeguard.Rows](),
	} {
		for _, o := range optional {
			if a, b := theirs.Implements(o), own.Implements(o); a != b {
				t.Errorf("%v implements %v: %t; %v: %t", theirs, o, a, own, b)
			}
		}
	}
}
