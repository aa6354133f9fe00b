package apptest

import (
	"errors"
	"slices"
	"testing"
)

// A command's cleanups run last first, whatever ended it, and its error says why.
func TestCommand(t *testing.T) {
	want := errors.New("own")
	for name, c := range map[string]struct {
		run  func(h *Host) error
		says string
	}{
		"good":   {func(*Host) error { return nil }, ""},
		"own":    {func(*Host) error { return want }, "own"},
		"fatal":  {func(h *Host) error { h.Fatalf("no %d", 7); return nil }, "no 7"},
		"errorf": {func(h *Host) error { h.Errorf("wrong"); return nil }, "see above"},
	} {
		var order []int
		err := Command(func(h *Host) error {
			h.Cleanup(func() { order = append(order, 1) })
			h.Cleanup(func() { order = append(order, 2) })
			return c.run(h)
		})
		if (err == nil) != (c.says == "") || err != nil && err.Error() != c.says || !slices.Equal(order, []int{2, 1}) {
			t.Errorf("%s: %v, cleanups %v", name, err, order)
		}
	}
}
