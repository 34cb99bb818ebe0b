package lifeguard

// RaceDetector is for tests that count allocations.
const RaceDetector = raceDetector
