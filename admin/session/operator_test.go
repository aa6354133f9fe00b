package session

import "testing"

func TestOperatorToken(t *testing.T) {
	o := NewOperator("0123456789abcdef0123")
	for token, want := range map[string]bool{
		"0123456789abcdef0123":  true,
		"0123456789abcdef012":   false,
		"0123456789abcdef01234": false,
		"":                      false,
	} {
		if got := o.Check(token); got != want {
			t.Errorf("Check(%q) = %v, want %v", token, got, want)
		}
	}
}

// An operator API without a token is closed, also for an empty bearer.
func TestNoOperatorTokenMeansClosed(t *testing.T) {
	o := NewOperator("")
	if o.Check("") || o.Check("x") || o.Enabled() {
		t.Error("an operator API without a token let somebody in")
	}
}
