package ship

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary play the proxy process that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("SHIP_TEST_CHILD") != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}
