//go:build race

package e2e

const raceDetector = true // the program is built as these tests are
