package catalogfile

import (
	"reflect"
	"testing"
)

// What is accepted can be written and read again as the same; nothing panics.
func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"models":[{"id":"a","price":{"input":"1","output":"2"}}]}`))
	f.Add([]byte("models: [{id: a, price: {input: 0x10, output: 1_000}}]"))
	f.Add([]byte("a: |\n  b\n? c\n: d\n"))
	f.Add([]byte("models:\n- id: !!binary x\n  <<: *y\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		file, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(Marshal(file))
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, Marshal(file))
		}
		if !reflect.DeepEqual(Marshal(file), Marshal(again)) {
			t.Fatalf("differs:\n%s\n%s", Marshal(file), Marshal(again))
		}
	})
}
