//go:build race

package lifeguard

// raceDetector gives each small value memory of its own, where the heap otherwise packs several.
const raceDetector = true
