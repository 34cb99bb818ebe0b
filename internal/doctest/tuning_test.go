package doctest

import (
	"container/heap"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the figures of docs/tuning.md")

const root = "../.."

func ms(seconds float64) string {
	switch v := seconds * 1000; {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.1f ms", v)
	default:
		return fmt.Sprintf("%.0f ms", v)
	}
}

func row(first string, q mmc) string {
	return fmt.Sprintf(
		"| %s | %.0f %% | %.0f %% | %s | %s | %.1f |\n",
		first, 100*q.utilisation(), 100*q.waiting(), ms(q.wait()), ms(q.waitOf(0.99)), q.queue(),
	)
}

const head = "busy | have to wait | mean wait | p99 of the wait | queue |\n|---|---|---|---|---|---|\n"

// figures are the tables of docs/tuning.md, by their marks.
func figures() map[string]string {
	servers, loads := "| limit | "+head, "| statements a second | "+head
	for _, n := range []int{7, 8, 9, 10, 12, 16} {
		servers += row(fmt.Sprint(n), mmc{1200, 0.005, n})
	}
	for _, a := range []float64{800, 1200, 1400, 1500, 1550, 1590} {
		loads += row(fmt.Sprintf("%.0f", a), mmc{a, 0.005, 8})
	}
	split := "| instances × limit | " + head
	for _, n := range []int{1, 2, 4, 8} {
		split += row(fmt.Sprintf("%d × %d", n, 16/n), mmc{2400 / float64(n), 0.005, 16 / n})
	}
	return map[string]string{"limit": servers, "load": loads, "split": split}
}

func TestTheFiguresOfTuningAreThoseOfTheFormulas(t *testing.T) {
	t.Parallel()
	page := filepath.Join(root, "docs", "tuning.md")
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	have := string(text)
	for name, want := range figures() {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->"
		before, rest, ok := strings.Cut(have, begin)
		table, after, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %s … %s", page, begin, end)
		}
		want = "\n" + want + "\n"
		if table != want && !*update {
			t.Errorf("run make tuning; the table of %s is\n%swant\n%s", name, table, want)
		}
		have = before + begin + want + end + after
	}
	if *update {
		if err := os.WriteFile(page, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTheTextOfTuningSaysWhatTheFormulasGive recomputes the figures that stand in sentences.
func TestTheTextOfTuningSaysWhatTheFormulasGive(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs", "tuning.md"))
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(text)), " ")
	const arrivals, service, limit = 1200, 0.005, 8
	for _, want := range []string{
		fmt.Sprintf("%d × 0.005 s = %.0f", arrivals, arrivals*service),
		fmt.Sprintf("%d ÷ 0.005 s = %.0f statements a second", limit, limit/service),
		fmt.Sprintf("%d × 0.250 s ÷ 0.005 s = %.0f", limit, limit*0.250/service),
		fmt.Sprintf("half of it, %.0f", limit*0.250/service/2),
		fmt.Sprintf("4 × %d = %d", limit, 4*limit),
		fmt.Sprintf("%d × 0.005 s ÷ %d = %s", 4*limit, limit, ms(4*limit*service/limit)),
		"one in a hundred wait " + ms(mmc{arrivals, service, 7}.waitOf(0.99)) + " or more",
		fmt.Sprintf("100 − 3 − 12 = %d", 100-3-12),
		fmt.Sprintf("85 ÷ 8 = %d", 85/8),
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("docs/tuning.md does not say %q", want)
		}
	}
}

// ends are the times at which the servers of a simulation are free again.
//
//nolint:recvcheck // heap.Interface asks for both kinds
type ends []float64

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i] < e[j] }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(float64)) } //nolint:errcheck // heap's own
func (e *ends) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

// TestTheFormulasAgreeWithASimulation plays the queue.
func TestTheFormulasAgreeWithASimulation(t *testing.T) {
	t.Parallel()
	for _, q := range []mmc{{1200, 0.005, 8}, {1400, 0.005, 8}, {300, 0.005, 2}} {
		random := rand.New(rand.NewPCG(1, 2))
		servers := make(ends, q.servers)
		const customers = 400_000
		var clock, waited float64
		late := 0
		for range customers {
			clock += random.ExpFloat64() / q.arrivals
			begin := max(clock, servers[0])
			if begin > clock {
				late++
			}
			waited += begin - clock
			servers[0] = begin + random.ExpFloat64()*q.service
			heap.Fix(&servers, 0)
		}
		if have, want := waited/customers, q.wait(); math.Abs(have/want-1) > 0.1 {
			t.Errorf("%+v: the mean wait is %g, the formula says %g", q, have, want)
		}
		if have, want := float64(late)/customers, q.waiting(); math.Abs(have/want-1) > 0.05 {
			t.Errorf("%+v: %g wait, the formula says %g", q, have, want)
		}
	}
}
