package lifeguard

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, written as 1048576, 1024KiB or 1MiB.
type ByteSize int64

// byteUnits are what ParseByteSize takes, the largest first, for String.
//
//nolint:gochecknoglobals // a constant
var byteUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String writes the size with the largest unit that leaves it whole.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && int64(b)%u.bytes == 0 {
			return strconv.FormatInt(int64(b)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

func parseByteSize(text string) (ByteSize, error) {
	unit := int64(1)
	for _, u := range byteUnits {
		if number, found := strings.CutSuffix(text, u.suffix); found {
			text, unit = number, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, err
	}
	if n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("lifeguard: %d × %d bytes are out of range", n, unit)
	}
	return ByteSize(n * unit), nil
}
