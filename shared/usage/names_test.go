package usage

import "testing"

// The names are part of the outside (interface 4): prices, catalogue files, CSV.
func TestClassNames(t *testing.T) {
	want := []string{
		"input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "audio_in", "audio_out",
		"image_in", "image_out", "characters", "seconds", "images", "searches", "request",
	}
	if len(want) != int(NumClasses) {
		t.Fatalf("%d classes, want %d", NumClasses, len(want))
	}
	for i, name := range want {
		if got := Class(i).String(); got != name {
			t.Errorf("class %d is %q, want %q", i, got, name)
		}
		if c, ok := ParseClass(name); !ok || c != Class(i) {
			t.Errorf("ParseClass(%q) = %d, %v", name, c, ok)
		}
	}
	for _, bad := range []string{"", "Input", "tokens", "class(3)"} {
		if _, ok := ParseClass(bad); ok {
			t.Errorf("%q was read as a class", bad)
		}
	}
}

func TestSides(t *testing.T) {
	for c := range NumClasses {
		if c.InputSide() && c.OutputSide() {
			t.Errorf("%s is on both sides", c)
		}
	}
	var u Units
	for c := range u {
		u[c] = 1 << c
	}
	var in, out int64
	for c := range NumClasses {
		if c.InputSide() {
			in += 1 << c
		}
		if c.OutputSide() {
			out += 1 << c
		}
	}
	if u.TotalInput() != in || u.TotalOutput() != out {
		t.Errorf("totals %d and %d, want %d and %d", u.TotalInput(), u.TotalOutput(), in, out)
	}
	u[Input], u[CacheRead] = 1<<62, 1<<62
	if u.TotalInput() != 1<<63-1 {
		t.Errorf("a sum beyond int64 became %d", u.TotalInput())
	}
}

func TestEnumNames(t *testing.T) {
	for s := Success; s <= Refused; s++ {
		if back, ok := ParseStatus(s.String()); !ok || back != s {
			t.Errorf("status %d is %q, read back as %d", s, s, back)
		}
	}
	for s := SourceNone; s <= SourceEstimated; s++ {
		if back, ok := ParseSource(s.String()); !ok || back != s {
			t.Errorf("source %d is %q, read back as %d", s, s, back)
		}
	}
	for text, got := range map[string]string{
		"status(0)": Status(0).String(), "status(99)": Status(99).String(), "source(9)": Source(9).String(),
		"outcome(0)": Outcome(0).String(), "error_event": OutcomeErrorEvent.String(), "class(200)": Class(200).String(),
		"stream,pinned": (FlagStream | FlagPinned).String(), "": Flags(0).String(), "key_cut": FlagKeyCut.String(),
	} {
		if got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}
