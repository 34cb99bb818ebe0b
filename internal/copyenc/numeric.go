package copyenc

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"
)

// A numeric is a sign, digits to the base 10,000, the weight of the first of them, and
// dscale, the number of decimals that it shows.
const (
	numericNegative = 0x4000
	numericNaN      = 0xC000
	numericPosInf   = 0xD000
	numericNegInf   = 0xF000

	maxWhole  = 131072 // decimal digits before the point
	maxDscale = 16383
	maxScaled = 10000 // exponents up to this are certainly in range
)

// AppendNumericInt writes the numeric v × 10^exp.
func AppendNumericInt(buf []byte, v int64, exp int32) ([]byte, error) {
	if v < 0 {
		return appendScaled(buf, true, -uint64(v), exp)
	}
	return appendScaled(buf, false, uint64(v), exp)
}

// AppendNumericUint writes the numeric v.
func AppendNumericUint(buf []byte, v uint64) ([]byte, error) { return appendScaled(buf, false, v, 0) }

// appendScaled takes v × 10^exp apart by division if the point can be put between two
// groups of digits without overflow, which spares the way by decimal digits.
func appendScaled(buf []byte, negative bool, v uint64, exp int32) ([]byte, error) {
	shift := exp & 3 // exp = 4 × whole groups + shift
	power := [4]uint64{1, 10, 100, 1000}[shift]
	if v == 0 || v > math.MaxUint64/power || exp < -maxScaled || exp > maxScaled {
		var scratch [20]byte
		return appendDecimal(buf, negative, strconv.AppendUint(scratch[:0], v, 10), int64(exp))
	}
	v *= power
	last := (exp - shift) / 4 // the weight of the last group
	for v%10_000 == 0 {
		v /= 10_000
		last++
	}
	var groups [5]uint16 // from the last to the first
	n := 0
	for ; v > 0; n++ {
		q := v / 10_000
		groups[n] = uint16(v - q*10_000)
		v = q
	}
	weight := last + int32(n) - 1
	var sign uint16
	if negative {
		sign = numericNegative
	}
	dscale := max(-exp, 0)
	buf = append(buf, 0, 0, 0, byte(8+2*n), 0, byte(n), byte(weight>>8), byte(weight),
		byte(sign>>8), byte(sign), byte(dscale>>8), byte(dscale))
	for n--; n >= 0; n-- {
		buf = append(buf, byte(groups[n]>>8), byte(groups[n]))
	}
	return buf, nil
}

// AppendNumericBig writes the numeric v × 10^exp.
func AppendNumericBig(buf []byte, v *big.Int, exp int32) ([]byte, error) {
	if v.IsInt64() {
		return AppendNumericInt(buf, v.Int64(), exp)
	}
	digits := v.Append(nil, 10)
	if v.Sign() < 0 {
		digits = digits[1:]
	}
	return appendDecimal(buf, v.Sign() < 0, digits, int64(exp))
}

// AppendNumericFloat writes the shortest decimal that is read as v again.
func AppendNumericFloat(buf []byte, v float64, bits int) ([]byte, error) {
	switch {
	case math.IsNaN(v):
		return appendSpecial(buf, numericNaN), nil
	case math.IsInf(v, 1):
		return appendSpecial(buf, numericPosInf), nil
	case math.IsInf(v, -1):
		return appendSpecial(buf, numericNegInf), nil
	}
	var scratch [32]byte
	return AppendNumericText(buf, strconv.AppendFloat(scratch[:0], v, 'e', -1, bits))
}

// AppendNumericText writes a numeric given as PostgreSQL and Go print it: an optional
// sign, digits with at most one point, an optional exponent; or NaN, Infinity, -Infinity.
func AppendNumericText[S ~string | ~[]byte](buf []byte, s S) ([]byte, error) {
	if code := special(s); code != 0 {
		return appendSpecial(buf, code), nil
	}

	var scratch [64]byte
	digits := scratch[:0]
	if len(s) > len(scratch) {
		digits = make([]byte, 0, len(s))
	}
	i, negative, point := 0, false, -1
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		negative = s[0] == '-'
		i = 1
	}
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits = append(digits, c)
			continue
		case c == '.' && point < 0:
			point = len(digits)
			continue
		}
		break
	}
	if len(digits) == 0 {
		return buf, ErrSyntax
	}
	exp, ok := exponent(s[i:])
	if !ok {
		return buf, ErrSyntax
	}
	if point >= 0 {
		exp -= int64(len(digits) - point)
	}
	return appendDecimal(buf, negative, digits, exp)
}

// exponent reads what follows the digits: nothing, or e and an integer.
func exponent[S ~string | ~[]byte](s S) (int64, bool) {
	if len(s) == 0 {
		return 0, true
	}
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return 0, false
	}
	i, negative := 1, false
	if s[1] == '-' || s[1] == '+' {
		negative = s[1] == '-'
		i = 2
	}
	if i == len(s) {
		return 0, false
	}
	var exp int64
	for ; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		exp = min(exp*10+int64(s[i]-'0'), math.MaxInt32)
	}
	if negative {
		exp = -exp
	}
	return exp, true
}

func special[S ~string | ~[]byte](s S) uint16 {
	if len(s) == 0 || s[len(s)-1] >= '0' && s[len(s)-1] <= '9' {
		return 0
	}
	switch string(s) {
	case "NaN", "nan":
		return numericNaN
	case "Infinity", "infinity", "Inf", "+Inf", "inf":
		return numericPosInf
	case "-Infinity", "-infinity", "-Inf", "-inf":
		return numericNegInf
	}
	return 0
}

func appendSpecial(buf []byte, sign uint16) []byte {
	return append(buf, 0, 0, 0, 8, 0, 0, 0, 0, byte(sign>>8), byte(sign), 0, 0)
}

// appendDecimal writes digits × 10^exp; digits are ASCII.
func appendDecimal(buf []byte, negative bool, digits []byte, exp int64) ([]byte, error) {
	dscale := max(-exp, 0)
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
		exp++
	}
	whole := int64(len(digits)) + exp // digits before the point; negative if zeros follow it
	if dscale > maxDscale || whole > maxWhole {
		return buf, ErrRange
	}
	if len(digits) == 0 {
		return append(buf, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, byte(dscale>>8), byte(dscale)), nil
	}

	// The first group is filled up to the left so that the point lies between groups.
	weight := (whole - 1) >> 2
	inFirst := int((whole-1)&3) + 1
	groups := 1 + (max(len(digits)-inFirst, 0)+3)/4
	var sign uint16
	if negative {
		sign = numericNegative
	}
	buf = appendLen(buf, 8+2*groups)
	buf = append(buf, byte(groups>>8), byte(groups), byte(weight>>8), byte(weight),
		byte(sign>>8), byte(sign), byte(dscale>>8), byte(dscale))
	for i := inFirst - 4; i < len(digits); i += 4 {
		var group uint16
		for j := i; j < i+4; j++ {
			group *= 10
			if j >= 0 && j < len(digits) {
				group += uint16(digits[j] - '0')
			}
		}
		buf = binary.BigEndian.AppendUint16(buf, group)
	}
	return buf, nil
}
