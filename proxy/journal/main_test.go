package journal

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary play the proxy process that is killed.
func TestMain(m *testing.M) {
	if role := os.Getenv("JOURNAL_TEST_CHILD"); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}
