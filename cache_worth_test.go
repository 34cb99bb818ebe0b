package lifeguard

import (
	"testing"
	"time"
)

// day plays reads of one text: those of a second, again and again.
type day struct {
	worth
	now  time.Duration
	hits uint64
	offs int
}

// second plays one second of n reads, of which share are hits unless the text is off.
func (d *day) second(n int, share float64) {
	saved := 0.0
	for range n {
		d.now += time.Second / time.Duration(n)
		if until := d.until.Load(); until != 0 && int64(d.now) < until {
			continue
		}
		if saved += share; saved >= 1 {
			saved--
			d.hits++
			continue
		}
		if d.filled(&usualWorth, d.now, d.hits) {
			d.offs++
		}
	}
}

func (d *day) isOff() bool { return int64(d.now) < d.until.Load() }

func TestATextWithoutHitsIsSwitchedOffAndTriedAgainEverLater(t *testing.T) {
	t.Parallel()
	var d day
	off := 0
	for range 3600 {
		d.second(100, 0.05)
		if d.isOff() {
			off++
		}
	}
	if off < 2400 || d.offs < 4 || d.offs > 20 {
		t.Errorf("in an hour it was off for %d seconds, %d times", off, d.offs)
	}
	for range 1500 { // and now there are hits
		d.second(100, 0.5)
	}
	if d.isOff() || d.trial {
		t.Error("it was not switched on again")
	}
}

func TestATextWithSomeHitsStaysOn(t *testing.T) {
	t.Parallel()
	var d day
	for range 3600 {
		d.second(100, 0.15)
	}
	if d.offs > 0 {
		t.Errorf("off %d times", d.offs)
	}
}

// A commit makes everything invalid, and all keys have to be filled again.
func TestABurstOfInvalidationsSwitchesNothingOff(t *testing.T) {
	t.Parallel()
	var d day
	for range 20 {
		for range 60 {
			d.second(1000, 0.95)
		}
		for range 8 {
			d.second(1000, 0)
		}
	}
	if d.offs > 0 {
		t.Errorf("off %d times", d.offs)
	}
}

// Few reads of many keys: the first hits come late, and they come.
func TestACacheThatIsStillEmptySwitchesNothingOff(t *testing.T) {
	t.Parallel()
	var d day
	const keys = 5000.0
	filled := 0.0
	for range 300 {
		share := filled / keys
		d.second(200, share)
		if !d.isOff() {
			filled += 200 * (1 - share)
		}
	}
	if d.offs > 0 {
		t.Errorf("off %d times", d.offs)
	}
}

func TestATextThatIsOffIsOnTrialLongEnoughForItsHits(t *testing.T) {
	t.Parallel()
	var d day
	for range 600 { // written all the time
		d.second(200, 0)
	}
	const keys = 5000.0
	filled := 0.0
	for range 3600 { // and now it is not
		share := filled / keys
		d.second(200, share)
		if !d.isOff() {
			filled += 200 * (1 - share)
		} else {
			filled = 0 // evicted meanwhile
		}
	}
	if d.isOff() || d.trial {
		t.Error("it was not switched on again")
	}
}

// ShortenWorth makes a Connector judge texts after few fills, for tests with a server. Call
// it before the first statement.
func ShortenWorth(c *Connector, fills int, first time.Duration) {
	co, err := c.ready()
	if err != nil {
		panic(err)
	}
	co.cache.rule = worthRule{fills: fills, bad: 2, trial: fills, first: first, most: first}
}
