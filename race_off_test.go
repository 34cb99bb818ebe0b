//go:build !race

package lifeguard

const raceDetector = false
