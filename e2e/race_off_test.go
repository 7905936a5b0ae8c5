//go:build !race

package e2e

const raceDetector = false // the program is built as these tests are
