package meter

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tiktoken-go/tokenizer"

	"tokenrelay/shared/apptest/fixtures"
)

// samples are texts of each class of characters that the estimate tells apart.
var samples = map[string]string{
	"English prose": `The harbour was quiet when the ferry came in. Two men in oilskins waited on the quay with a handcart, and
behind them the lamps of the customs house threw long yellow bars across the wet stones. Nobody spoke. The captain, who had
made this crossing four hundred times and hoped to make it four hundred more, leaned out of the wheelhouse and counted the
passengers as they went ashore: eleven, which was one fewer than had boarded at dusk. He counted again, slowly, the way his
father had taught him to count fish, and again the answer was eleven.`,
	"code": `func (s *Store) Insert(ctx context.Context, rows []Row) (int, error) {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot begin: %w", err)
	}
	defer tx.Rollback(ctx)
	for i, r := range rows {
		if r.Amount < 0 || r.Amount > maxAmount {
			return i, &RangeError{Field: "amount", Value: r.Amount}
		}
		if _, err := tx.Exec(ctx, insertRow, r.ID, r.Amount, r.At.UTC()); err != nil {
			return i, err
		}
	}
	return len(rows), tx.Commit(ctx)
}`,
	"JSON": `{"order_id":"A-10293","customer":{"name":"Jo Ann Miller","email":"jo@example.com","tier":"gold"},"items":[{"sku":"LMP-20",
"title":"Desk lamp","quantity":2,"unit_price":39.5},{"sku":"BLB-7","title":"Bulb, warm white","quantity":6,"unit_price":4.25}],
"shipping":{"method":"express","address":{"street":"12 Elm Road","city":"Leeds","postcode":"LS1 4AP"}},"gift":false}`,
	"German": `Die Straßenbahn fährt früh über die Brücke, während die Händler ihre Stände für den größten Markt der Gegend aufbauen.
Am Nachmittag führt der Bürgermeister die Gäste durch die Räume des alten Schlosses, erklärt die Gemälde und erzählt, wie
die Bürger während der Überschwemmung die schönsten Stücke auf den Dachböden der Häuser versteckten.`,
	"Russian": `Поезд пришёл на станцию поздно вечером, когда весь город уже спал. Смотритель зажёг фонарь, открыл тяжёлую дверь и
спросил приезжего, надолго ли он останется. Тот ответил, что ищет дом, в котором прошло его детство, и что времени у него немного.`,
	"Chinese":  `清晨的港口还笼罩在薄雾之中，渔民们已经把小船推下了水。老船长站在码头上，仔细检查每一张渔网，提醒年轻人注意今天下午可能会有大风。他们约定日落之前回来，然后一起在海边的小饭馆吃晚饭，讨论明年要不要买一条新船。`,
	"Japanese": `夜の港に小さな船がゆっくりと入ってきた。船長は乗客の数をもう一度かぞえ、静かに首をかしげた。乗ったときより一人少ないのである。誰も気づかないうちに、雨はいつの間にか雪に変わっていた。`,
	"emoji":    `🎉🎂🎈 👩‍👩‍👧 🚀🌍 😀😃😄😁😆 🐶🐱🐭 🍎🍊🍋 ⚽🏀🏈 🎵🎶 💡🔧🔨`,
}

// TestEstimateAgainstATokenizer is rulings 1.10: how far the estimate is from what a
// tokenizer library (o200k) counts. It leans to the low side: the customer does not pay
// for our not knowing.
func TestEstimateAgainstATokenizer(t *testing.T) {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		t.Fatal(err)
	}
	estimated, counted := int64(0), int64(0)
	for _, name := range slices.Sorted(keys(samples)) {
		text := samples[name]
		n, err := codec.Count(text)
		if err != nil {
			t.Fatal(err)
		}
		var c Count
		c.AddBytes([]byte(text))
		got := FamilyOpenAI.Tokens(&c)
		off := 100 * (float64(got) - float64(n)) / float64(n)
		t.Logf("%-14s %4d characters, %4d tokens, estimated %4d: %+.0f %%", name, len([]rune(text)), n, got, off)
		if off > 25 || off < -45 {
			t.Errorf("%s: the estimate is off by %+.0f %%", name, off)
		}
		estimated, counted = estimated+got, counted+int64(n)
	}
	if off := 100 * (float64(estimated) - float64(counted)) / float64(counted); math.Abs(off) > 15 {
		t.Errorf("over all the estimate is off by %+.0f %%", off)
	} else {
		t.Logf("over all %+.1f %%", off)
	}
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestEstimateAgainstRecordings is rulings 1.10: the estimate of the output of recorded
// answers, from their text and calls alone, beside what their providers counted.
func TestEstimateAgainstRecordings(t *testing.T) {
	list, err := fixtures.Own()
	dir, recorded := fixtures.Recordings()
	if recorded {
		list, err = fixtures.Load(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	type sum struct {
		n                  int
		estimated, counted int64
		offs               []float64
	}
	all := map[string]*sum{}
	for _, c := range list {
		var x struct {
			Text, Reasoning string
			Calls           []struct{ Name, Arguments string } `json:"tool_calls"`
			Choices         int
		}
		if !c.HasUsage || json.Unmarshal(c.Expect, &x) != nil || x.Choices > 1 || c.Expected.OutputAudio > 0 || c.Expected.OutputImage > 0 {
			continue
		}
		var text, thought Count
		text.AddBytes([]byte(x.Text))
		for _, call := range x.Calls {
			text.AddBytes([]byte(call.Name))
			text.AddBytes([]byte(call.Arguments))
			text.Calls++
		}
		want := c.Expected.OutputTotal - c.Expected.Reasoning // hidden thoughts cannot be estimated
		if want <= 0 || text.Bytes() == 0 || c.Expected.ServerToolUse != nil {
			continue
		}
		if c.Expected.Reasoning == 0 { // thoughts that are shown and not told apart
			thought.AddBytes([]byte(x.Reasoning))
			text.Add(&thought)
		}
		f := FamilyOf(strings.ToLower(c.Model))
		got := f.Tokens(&text)
		name := strings.Split(c.Protocol, ".")[0]
		s := all[name]
		if s == nil {
			s = &sum{}
			all[name] = s
		}
		s.n++
		s.estimated, s.counted = s.estimated+got, s.counted+want
		s.offs = append(s.offs, (float64(got)-float64(want))/float64(want))
	}
	var estimated, counted int64
	n := 0
	for name, s := range all {
		slices.Sort(s.offs)
		t.Logf("%s: %d answers, %d tokens, estimated %d (%+.1f %%); one answer: median %+.0f %%, 10th percentile %+.0f %%, 90th %+.0f %%", name, s.n, s.counted, s.estimated,
			100*float64(s.estimated-s.counted)/float64(s.counted), 100*s.offs[len(s.offs)/2], 100*s.offs[len(s.offs)/10], 100*s.offs[len(s.offs)*9/10])
		estimated, counted, n = estimated+s.estimated, counted+s.counted, n+s.n
	}
	off := 100 * float64(estimated-counted) / float64(counted)
	fmt.Printf("meter: %d answers, %d output tokens, estimated %d: %+.1f %%\n", n, counted, estimated, off)
	if n == 0 || recorded && (n < 60 || off > 10 || off < -35) {
		t.Errorf("%d answers, off by %+.1f %%", n, off)
	}
}
