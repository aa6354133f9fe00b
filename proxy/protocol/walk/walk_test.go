package walk

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzWalk: on valid JSON the walk finds the members and values that encoding/json
// finds; on anything else it ends.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":[1,{"c":"\"}"}],"d":{}}`, ` { "a" : null , "b\\" : "x" } `, `{`, `{"a":}`, `[1,"]",{}]`, `{"a":1,}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i := Space(b, 0)
		if i >= len(b) || b[i] != '{' && b[i] != '[' {
			return
		}
		var it Iter
		if b[i] == '{' {
			it = Object(b, i)
		} else {
			it = Array(b, i)
		}
		var values [][]byte
		var keys []string
		for it.Next() {
			values = append(values, it.Value())
			keys = append(keys, string(it.Key))
		}
		if !json.Valid(b) {
			return
		}
		if it.Bad || Space(b, it.End()) != len(b) || Skip(b, i) != it.End() {
			t.Fatalf("%q: bad %v, end %d", b, it.Bad, it.End())
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		_, _ = dec.Token()
		for n := 0; dec.More(); n++ {
			if b[i] == '{' {
				tok, err := dec.Token()
				var key string
				if json.Unmarshal([]byte(`"`+keys[n]+`"`), &key) != nil || err != nil || key != tok.(string) {
					t.Fatalf("%q: key %d is %q, want %v", b, n, keys[n], tok)
				}
			}
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil {
				return
			}
			if !bytes.Equal(bytes.TrimSpace(raw), values[n]) {
				t.Fatalf("%q: value %d is %q, want %q", b, n, values[n], raw)
			}
		}
	})
}

// Every choice of members cut leaves valid JSON with exactly the others.
func TestCutter(t *testing.T) {
	for _, text := range []string{`{"a":1,"b":[2],"c":{"d":3},"e":"x"}`, "{ \"a\" : 1 ,\n \"b\":2 , \"c\": 3 }", `{"a":1}`, `{}`} {
		names := []string{"a", "b", "c", "e"}
		for mask := range 16 {
			p := Patch{Src: []byte(text)}
			it := Object(p.Src, 0)
			var cut Cutter
			for it.Next() {
				drop := false
				for i, n := range names {
					drop = drop || mask>>i&1 == 1 && n == string(it.Key)
				}
				if drop {
					cut.Drop(&p, &it)
				} else {
					cut.Stay(&p, &it)
				}
			}
			cut.Done(&p, it.End())
			out := p.Finish()
			var got, want map[string]json.RawMessage
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%s cut by %b: %s: %v", text, mask, out, err)
			}
			_ = json.Unmarshal([]byte(text), &want)
			for i, n := range names {
				if mask>>i&1 == 1 {
					delete(want, n)
				}
			}
			if len(got) != len(want) {
				t.Errorf("%s cut by %b: %s", text, mask, out)
			}
		}
	}
}

func TestCount(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "12": 12, "1099511627776": 1 << 40} {
		if n, ok, bad := Count([]byte(text)); n != want || !ok || bad {
			t.Errorf("%s: %d %v %v", text, n, ok, bad)
		}
	}
	if _, ok, bad := Count([]byte("null")); ok || bad {
		t.Error("null is neither a count nor bad")
	}
	for _, text := range []string{"-1", "1.0", "1e3", `"1"`, "", "NaN", "1099511627777", "99999999999999999999", "true", "[1]"} {
		if n, ok, bad := Count([]byte(text)); n != 0 || ok || !bad {
			t.Errorf("%s: %d %v %v", text, n, ok, bad)
		}
	}
}
