package mockllm

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// The sums are the sums of the records, whatever ran at the same time.
func TestMeterSums(t *testing.T) {
	s, addr := start(t, Options{})
	c := &Client{URL: "http://" + addr}
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	scripts := []string{"out=3", "out=5;cut=2", "status=500", "out=4;usage=none", "out=2;usage=huge", "cut=headers"}
	var wg sync.WaitGroup
	const each = 20
	for i, script := range scripts {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := range each {
				more := ""
				if j%2 == 1 {
					more = streamed
				}
				talk(t, addr, post("/lane/v1/chat/completions", chatBody(fmt.Sprintf("m%d", i%2), fmt.Sprintf("mock:id=s%d-%d;%s", i, j, script), more), "Authorization: Bearer sk-secret-9876"), 3*time.Second)
			}
		}()
	}
	wg.Wait()
	if _, err := c.Wait(Filter{MarkerPrefix: "s"}, each*len(scripts), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	list, err := c.Requests(Filter{})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := c.Summary()
	if err != nil {
		t.Fatal(err)
	}
	var want Sums
	want.Status = map[int]int64{}
	for _, r := range list {
		if r.Key != "9876" || r.Lane != "lane" {
			t.Fatalf("%+v", r)
		}
		want.Requests++
		want.count(&r)
	}
	got := sum.Total
	if fmt.Sprint(got) != fmt.Sprint(want) || got.Requests != each*int64(len(scripts)) || got.Open != 0 {
		t.Errorf("sums\n%+v, records\n%+v", got, want)
	}
	if want.Status[500] != each || want.Status[0] != each || want.Fault == 0 || want.Usage.Output == 0 {
		t.Errorf("%+v", want)
	}
	byModel := int64(0)
	for _, m := range sum.Models {
		byModel += m.Usage.Output
	}
	if byModel != got.Usage.Output {
		t.Errorf("by model %d, in all %d", byModel, got.Usage.Output)
	}
	if list, err = c.Requests(Filter{Model: "m0", Status: 500, Limit: 3}); err != nil || len(list) != 3 {
		t.Errorf("filter: %d %v", len(list), err)
	}
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	if sum, err = c.Summary(); err != nil || sum.Total.Requests != 0 || len(sum.Models) != 0 {
		t.Errorf("after the reset: %+v %v", sum, err)
	}
	if _, err := c.Wait(Filter{}, 1, 20*time.Millisecond); err == nil {
		t.Error("waited for nothing and got it")
	}
	_ = s
}

func TestMeterKeepsBodies(t *testing.T) {
	_, addr := start(t, Options{})
	c := &Client{URL: "http://" + addr}
	body := chatBody("m", "mock:id=kept;keep=1", "")
	talk(t, addr, post(chatPath, body, "X-Seen: yes"), 3*time.Second)
	d, err := c.Kept("kept")
	if err != nil || string(d.Body) != body || !strings.Contains(d.Head, "X-Seen: yes\r\n") {
		t.Errorf("%v %+v", err, d)
	}
	if _, err := c.Kept("other"); err == nil {
		t.Error("a body that nobody kept")
	}
}

// The ring is bounded; the sums are not.
func TestMeterRingWraps(t *testing.T) {
	m := newMeter(0)
	const n = ringSize + 10
	for range n {
		l := &live{rec: Record{Model: "m", Status: 200, End: EndOpen}}
		m.begin(l)
		m.finish(l, EndFinished)
	}
	sum := m.Summary()
	if len(m.ring) != ringSize || sum.Total.Finished != n || sum.Evicted != 10 || len(m.Requests(Filter{Limit: 2})) != 2 {
		t.Errorf("%d in the ring, %+v", len(m.ring), sum)
	}
}

func TestConnectionsAreReusedAndCounted(t *testing.T) {
	s, addr := start(t, Options{})
	request := post(chatPath, chatBody("m", "mock:id=re", ""))
	talk(t, addr, request+request+request, 200*time.Millisecond) // pipelined
	list, ok := s.meter.Wait(Filter{Marker: "re"}, 3, 3*time.Second)
	if !ok || list[2].ConnReq != 3 || list[0].Conn != list[2].Conn {
		t.Errorf("%+v", list)
	}
}
