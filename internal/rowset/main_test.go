package rowset_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/lifeguard-go/lifeguard/pgtest"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m, pgtest.Options{})
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}
